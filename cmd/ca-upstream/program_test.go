package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/keystoretest"
	keysupstream "github.com/kedge-ca/kedge/ca/keystore/upstream"
	"github.com/kedge-ca/kedge/ca/root/roottest"
	rootupstream "github.com/kedge-ca/kedge/ca/root/upstream"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

// build makes the real program: a test binary cannot be in FIPS mode.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca-upstream")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// site is a directory with a configuration of software keys.
type site struct {
	dir, bin, config, socket string
}

func newSite(t *testing.T, bin string) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), bin: bin, socket: filepath.Join(filepath.Dir(upstreamtest.Socket(t)), "run", "s")}
	s.config = filepath.Join(s.dir, "upstream.yaml")
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "password"), []byte("correct horse battery staple\n"), 0o600))
	s.write(t, fmt.Sprintf(`trust_domain: cluster.local
socket: %s
kms:
  uri: "softkms:"
  password_file: %[2]s/password
  root_key: softkms:%[2]s/root.key
  root_certificate: %[2]s/root.pem
  keys: softkms:%[2]s/keys/{name}.key
`, s.socket, s.dir))
	return s
}

func (s *site) write(t *testing.T, config string) {
	t.Helper()
	require.NoError(t, os.WriteFile(s.config, []byte(config), 0o600))
}

func (s *site) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), s.bin, args...).CombinedOutput()
	return string(out), err
}

// serve starts the program and returns what stops it and gives its log.
func (s *site) serve(t *testing.T) (stop func() string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.CommandContext(context.Background(), s.bin, "serve", "--config", s.config) // stopped below
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	stopped := false
	stop = func() string {
		if !stopped {
			stopped = true
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, cmd.Wait(), "%s", &log)
		}
		return log.String()
	}
	t.Cleanup(func() { stop() })
	require.Eventually(t, func() bool { // the file is there before it is listened to
		conn, err := net.Dial("unix", s.socket)
		return err == nil && conn.Close() == nil
	}, 10*time.Second, 10*time.Millisecond)
	return stop
}

// TestProgram builds once for all that is said of the program.
func TestProgram(t *testing.T) {
	bin := build(t)
	t.Run("serves what the authority needs", func(t *testing.T) { programServes(t, bin) })
	t.Run("refuses what cannot be meant", func(t *testing.T) { programRefuses(t, bin) })
	t.Run("refuses a socket directory that others enter", func(t *testing.T) { programGuardsItsSocket(t, bin) })
	t.Run("reports what is linked", func(t *testing.T) { programReports(t, bin) })
}

func programServes(t *testing.T, bin string) {
	s := newSite(t, bin)
	out, err := s.run(t, "root", "--config", s.config, "--create")
	require.NoError(t, err, out)
	out, err = s.run(t, "root", "--config", s.config, "--create")
	require.Error(t, err, "nothing is replaced")
	require.Contains(t, out, "exists")

	stop := s.serve(t)
	for path, mode := range map[string]os.FileMode{s.socket: 0o600, filepath.Dir(s.socket): 0o700} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
	client := upstreamtest.Client(t, s.socket)
	root, err := rootupstream.New(rootupstream.Config{Client: client, Policy: upstreamtest.Policy(t)})
	require.NoError(t, err)
	roottest.Run(t, roottest.Subject{Root: root, TrustDomain: upstreamtest.Domain(t), Now: time.Now(), Policy: upstreamtest.Policy(t)})

	store, err := keysupstream.New(keysupstream.Config{Client: client, Policy: upstreamtest.Policy(t)})
	require.NoError(t, err)
	keystoretest.Run(t, keystoretest.Subject{Open: func(t *testing.T) ca.KeyStore {
		for _, name := range []string{"int-1", "int-2"} { // one server for all: each test begins empty
			require.NoError(t, store.Destroy(t.Context(), name))
		}
		return store
	}})
	require.Contains(t, stop(), `"method":"/kedge.upstream.v1.Upstream/SignIntermediate"`)
	_, err = os.Stat(s.socket)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func programRefuses(t *testing.T, bin string) {
	root := "kms: {uri: 'softkms:', password_file: DIR/password, root_key: 'softkms:DIR/root.key', root_certificate: DIR/root.pem}\n"
	rows := []struct{ name, config, want string }{
		{"an unknown key", "trust_domain: cluster.local\nsokcet: x\n", "sokcet"},
		{"no trust domain", root, "trust_domain"},
		{"nothing to hold", "trust_domain: cluster.local\n", "nothing to hold"},
		{"two roots", "trust_domain: cluster.local\ncas: {type: stepcas}\n" + root, "two roots"},
		{"a root without its certificate", "trust_domain: cluster.local\nkms: {uri: 'softkms:', root_key: 'softkms:DIR/root.key'}\n", "belong together"},
		{"software keys without a password", "trust_domain: cluster.local\nkms: {uri: 'softkms:', keys: 'softkms:DIR/{name}.key'}\n", "rest under a password"},
		{"a PIN in a URI", "trust_domain: cluster.local\nkms: {uri: 'pkcs11:token=x?pin-value=1234', keys: 'pkcs11:id={id};object={name}'}\n", "carries a secret"},
		{"a password that others can read", "trust_domain: cluster.local\nkms: {uri: 'softkms:', password_file: DIR/open, keys: 'softkms:DIR/{name}.key'}\n", "chmod 0600"},
		{"a service that is not linked", "trust_domain: cluster.local\nkms: {uri: 'nokms:', keys: 'nokms:{name}'}\n", "nokms"},
		{"an unknown authority", "trust_domain: cluster.local\ncas: {type: vaultcas, certificate_authority: x}\n", "unknown type"},
		{"an unknown profile", "fips_profile: none\ntrust_domain: cluster.local\n" + root, "unknown policy"},
		{"a user who cannot reach the socket", "trust_domain: cluster.local\nallow_uid: [4294967294]\n" + root, "cannot reach a socket"},
		{"no root certificate yet", "trust_domain: cluster.local\n" + root, "root.pem"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, bin)
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "open"), []byte("a password of some length"), 0o644))
			s.write(t, strings.ReplaceAll(row.config, "DIR", s.dir))
			out, err := s.run(t, "serve", "--config", s.config, "--socket", s.socket)
			require.Error(t, err)
			require.Contains(t, out, row.want)
			require.NotContains(t, out, "1234")
		})
	}
}

func programGuardsItsSocket(t *testing.T, bin string) {
	s := newSite(t, bin)
	out, err := s.run(t, "root", "--config", s.config, "--create")
	require.NoError(t, err, out)
	require.NoError(t, os.Mkdir(filepath.Dir(s.socket), 0o755))
	out, err = s.run(t, "serve", "--config", s.config)
	require.Error(t, err)
	require.Contains(t, out, "chmod 0700")
}

func programReports(t *testing.T, bin string) {
	s := newSite(t, bin)
	out, err := s.run(t, "fips", "-o", "json")
	require.NoError(t, err, out)
	var report fips.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.NotEqual(t, fips.VerdictError, report.Verdict)
	all := strings.Join(report.OutsideModule, "\n")
	for _, path := range []string{"github.com/smallstep/certificates ", "go.step.sm/crypto ", "golang.org/x/crypto ", "filippo.io/edwards25519 ", "github.com/miekg/pkcs11 "} {
		require.Contains(t, all, "\n"+path)
	}
}
