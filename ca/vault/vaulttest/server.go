package vaulttest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// patience is how long the server may take for a change of state. A healthy one
// needs two seconds for its start, and the machines of CI are slow.
const patience = 60 * time.Second

// Server is a running Vault server.
type Server struct {
	// Address is its URL, https with the loopback address.
	Address string
	// CAFile is the anchor of its certificate, in PEM.
	CAFile string
	// RootToken is allowed everything; code under test gets a PolicyToken instead.
	RootToken string
	// UnsealKey is the only key share, in hexadecimal.
	UnsealKey string
	// AuditFile is where the audit device writes one JSON object a line.
	AuditFile string

	t      testing.TB
	ca     *authority
	http   *http.Client
	binary string
	dir    string
	names  int // of policies and roles made so far

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// Start starts a server, initialises and unseals it, and stops it when the test
// ends. Its log is printed when the test failed.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, binary: binary(t), dir: t.TempDir(), ca: newAuthority(t)}
	s.http = s.ca.client(t)
	s.CAFile = filepath.Join(s.dir, "ca.pem")
	s.AuditFile = filepath.Join(s.dir, "audit.log")
	writePEM(t, s.CAFile, "CERTIFICATE", s.ca.cert.Raw)
	s.configure()
	t.Cleanup(s.cleanup)
	s.launch()
	s.initialise()
	s.Unseal()
	s.mustRequest(http.MethodPut, "sys/audit/file", map[string]any{
		"type": "file", "options": map[string]string{"file_path": s.AuditFile},
	})
	return s
}

// configure writes the configuration. Raft is the only storage of the minimal build
// that survives a restart; the multiplier makes its one node elect itself at once.
func (s *Server) configure() {
	s.t.Helper()
	certFile, keyFile := writePair(s.t, s.dir, "server", s.ca.issue(s.t, "vault"))
	api, cluster := freeAddress(s.t), freeAddress(s.t)
	s.Address = "https://" + api
	data := filepath.Join(s.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		s.t.Fatalf("making folder of Vault: %v", err)
	}
	config := fmt.Sprintf(`
storage "raft" {
  path = %q
  node_id = "one"
  performance_multiplier = 1
}
listener "tcp" {
  address = %q
  cluster_address = %q
  tls_cert_file = %q
  tls_key_file = %q
}
api_addr = %q
cluster_addr = "https://%s"
disable_mlock = true
`, data, api, cluster, certFile, keyFile, s.Address, cluster)
	if err := os.WriteFile(s.path("vault.hcl"), []byte(config), 0o600); err != nil {
		s.t.Fatalf("writing configuration of Vault: %v", err)
	}
}

// Binary is the program, which is the command line too.
func (s *Server) Binary() string { return s.binary }

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// launch starts the process and waits until it answers, sealed or not.
func (s *Server) launch() {
	s.t.Helper()
	log, err := os.OpenFile(s.path("vault.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatalf("opening log of Vault: %v", err)
	}
	defer log.Close()
	cmd := exec.Command(s.binary, "server", "-config", s.path("vault.hcl"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"HOME=" + s.dir} // VAULT_* of the caller would steer it
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("starting Vault: %v", err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	s.mu.Lock()
	s.cmd, s.done = cmd, done
	s.mu.Unlock()
	s.waitHealth(func(code int) bool { return code != 0 }, "answer")
}

// waitHealth waits until the status of sys/health is the wanted one: 200 active,
// 501 not initialised, 503 sealed, 0 no answer.
func (s *Server) waitHealth(wanted func(code int) bool, what string) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	var code int
	for ; time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if code = s.Health(); wanted(code) {
			return
		}
		select {
		case <-s.done:
			s.t.Fatalf("Vault ended while it should %s", what)
		default:
		}
	}
	s.t.Fatalf("Vault did not %s in %s: its health is %d", what, patience, code)
}

// Health returns the HTTP status of sys/health: 200 active, 429 standby, 501 not
// initialised, 503 sealed; 0 when the server does not answer.
func (s *Server) Health() int { return s.healthWithin(patience) }

func (s *Server) healthWithin(limit time.Duration) int {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Address+"/v1/sys/health", nil)
	if err != nil {
		return 0
	}
	answer, err := s.http.Do(request)
	if err != nil {
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// Stop ends the process, as an operator does. The address then refuses connections.
func (s *Server) Stop() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	// A paused process handles no signal until it is resumed.
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	s.cmd = nil
	s.http.CloseIdleConnections()
}

// Restart stops the process, if it runs, and starts it at the same address. As
// after any start, it is sealed: Unseal follows.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.launch()
}

// Pause freezes the process: connections are accepted by the kernel and never
// answered, as on a machine that hangs. Resume ends it.
func (s *Server) Pause() { s.t.Helper(); s.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on; what it was asked meanwhile is answered late.
func (s *Server) Resume() { s.t.Helper(); s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		s.t.Fatalf("Vault does not run")
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("signalling Vault: %v", err)
	}
}

// cleanup stops the process and prints its log when the test failed.
func (s *Server) cleanup() {
	s.Stop()
	if !s.t.Failed() {
		return
	}
	log, err := os.ReadFile(s.path("vault.log"))
	if err != nil {
		s.t.Logf("reading log of Vault: %v", err)
		return
	}
	s.t.Logf("log of Vault:\n%s", log)
}

// freeAddress returns a loopback address that nobody listens on, below the ephemeral
// range: there, an outgoing connection could take it while the server is stopped.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		var random [2]byte
		if err := fips.Random(random[:]); err != nil {
			t.Fatalf("choosing port: %v", err)
		}
		port := 20000 + (int(random[0])<<8|int(random[1]))%12000
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			_ = listener.Close()
			return address
		}
	}
	t.Fatal("found no free port")
	return ""
}
