package istio

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// server is one running ca process.
type server struct {
	address string
	bundle  string // file of the trust anchors
	token   string // file of a token for the identity of agentIdentity
	cmd     *exec.Cmd
	output  *output
	exited  chan struct{} // closed when the process has ended, with err
	err     error
}

// startLimit is far above the second or so that a start takes on a busy machine.
const startLimit = 30 * time.Second

// binary is the program under test. Its absence is a failure, not a skip: a
// suite that quietly tests nothing is worse than none.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("KEDGE_BIN")
	require.NotEmpty(t, path, "KEDGE_BIN must name the ca binary under test")
	require.FileExists(t, path)
	return path
}

// startDev starts ca dev, which has an issuer of tokens of its own.
func startDev(t *testing.T) *server {
	t.Helper()
	dir, address := filepath.Join(shortDir(t), "dev"), freeAddress(t)
	s := &server{address: address, bundle: filepath.Join(dir, "bundle.pem"), token: filepath.Join(dir, "token")}
	s.start(t, "dev", "--dir", dir, "--listen", address)
	return s
}

// authorityConfig is what the tests vary of a ca serve.
type authorityConfig struct {
	address string
	issuer  *issuer
	limits  string // YAML lines of the section limits, indented by two
}

// startAuthority makes a new authority with roots of its own and serves it.
func startAuthority(t *testing.T, c authorityConfig) *server {
	t.Helper()
	dir := shortDir(t)
	s := &server{address: c.address, bundle: filepath.Join(dir, "bundle.pem"), token: filepath.Join(dir, "token")}
	data, secrets := filepath.Join(dir, "data"), filepath.Join(dir, "secrets")
	out, err := exec.Command(binary(t), "init", "--trust-domain", trustDomain, "--data-dir", data,
		"--generate-passphrases", secrets).CombinedOutput()
	require.NoError(t, err, "%s", out)

	config := filepath.Join(dir, "ca.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `trustDomain: %s
dataDir: %s
listen: %s
serverNames: ["127.0.0.1"]
ops:
  listen: %s
keys:
  passphrase: {file: %s/keys-passphrase}
root:
  passphrase: {file: %[5]s/root-passphrase}
authn:
  kubernetes:
    - cluster: %s
      default: true
      issuer: %s
      audiences: [istio-ca]
      jwks: {file: %s}
limits:
  drainTimeout: 5s
%s`, trustDomain, data, c.address, freeAddress(t), secrets, clusterID, issuerURL, c.issuer.jwksFile, c.limits), 0o600))
	writeFile(t, s.token, c.issuer.token(t, claims{}))
	s.start(t, "serve", "--config", config)

	anchors := []byte{}
	for _, slot := range []string{"root", "standby"} {
		pem, err := os.ReadFile(filepath.Join(data, slot, "root.pem"))
		require.NoError(t, err)
		anchors = append(anchors, pem...)
	}
	writeFile(t, s.bundle, string(anchors))
	return s
}

// start runs the binary and waits until it says that it serves: ca dev on
// standard output, ca serve in its log on standard error.
func (s *server) start(t *testing.T, args ...string) {
	t.Helper()
	s.cmd, s.output = exec.Command(binary(t), args...), &output{ready: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	require.NoError(t, s.cmd.Start())
	s.exited = make(chan struct{})
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() { s.stop(t) })
	select {
	case <-s.output.ready:
	case <-s.exited:
		require.Fail(t, "the server ended before it served", "%s", s.output)
	case <-time.After(startLimit):
		require.Fail(t, "the server does not say that it serves", "%s", s.output)
	}
}

// output collects what a server prints.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	told  bool
	ready chan struct{} // closed once the server has said that it serves
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.text.Write(b)
	if all := o.text.Bytes(); !o.told && (bytes.Contains(all, []byte("ready: ")) || bytes.Contains(all, []byte(`"msg":"serving"`))) {
		o.told = true
		close(o.ready)
	}
	return n, err
}

// String is what was printed so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// stop ends the process as an orchestrator would, and demands a clean end. It may
// be called twice.
func (s *server) stop(t *testing.T) {
	t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	<-s.exited
	require.NoError(t, s.err, "%s", s.output)
}

// shortDir is a temporary directory for servers: a socket's path has at most 107
// bytes, and t.TempDir names its directory after the test.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kedge")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// freeAddress is a loopback address that nobody listens on just now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}
