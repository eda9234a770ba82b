package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

// at is the command line with a clock of its own.
func at(now time.Time) *app {
	return &app{
		stdin: &bytes.Buffer{}, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{},
		now: func() time.Time { return now }, getenv: func(string) string { return "" }, output: "table",
	}
}

// site is a data directory that was made at some time.
type site struct {
	config config
	path   string // of the configuration
	dir    string
}

// newSite does what ca init does, at the time of a, with flags that change gives.
func newSite(t *testing.T, a *app, dir string, change func(*config)) site {
	t.Helper()
	listen, err := freeAddr()
	require.NoError(t, err)
	o := &initOptions{config: defaultConfig(), secretsDir: filepath.Join(dir, "secrets"), configPath: filepath.Join(dir, "ca.yaml")}
	o.config.TrustDomain, o.config.DataDir, o.config.Listen = "example.org", filepath.Join(dir, "data"), listen
	o.config.ServerNames = []string{"127.0.0.1"}
	change(&o.config)
	require.NoError(t, o.complete())
	policy, err := fips.PolicyByName(o.config.FIPS.Profile)
	require.NoError(t, err)
	_, err = a.makeAuthority(t.Context(), o, policy)
	require.NoError(t, err)
	require.NoError(t, o.writeConfig())
	f, err := os.OpenFile(o.configPath, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("ops: {listen: \"127.0.0.1:0\"}\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	cfg, err := loadConfig(o.configPath)
	require.NoError(t, err)
	return site{config: cfg, path: o.configPath, dir: dir}
}

// process is a program that runs; ended is closed when it has been waited for.
type process struct {
	*exec.Cmd
	ended <-chan struct{}
}

// serveSite runs the real program over s until the test ends.
func serveSite(t *testing.T, ca string, s site) process {
	t.Helper()
	var log bytes.Buffer
	server := exec.Command(ca, "serve", "--config", s.path)
	server.Stderr = &log
	require.NoError(t, server.Start())
	stopped := make(chan struct{})
	go func() { _ = server.Wait(); close(stopped) }()
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		<-stopped
		if t.Failed() {
			t.Log(log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		select {
		case <-stopped:
			require.Fail(t, "the server did not start", log.String())
		default:
		}
		if conn, err := net.Dial("unix", s.config.AdminSocket); err == nil {
			require.NoError(t, conn.Close())
			return process{server, stopped}
		}
		require.NoError(t, waitABit(ctx))
	}
}

// exec is a command line of the real program against the server of s.
func (s site) exec(ca string, args ...string) *exec.Cmd {
	cmd := exec.Command(ca, args...)
	cmd.Env = append(os.Environ(), adminEnv+"="+s.config.AdminSocket)
	return cmd
}

// command runs the real program against the server of s.
func (s site) command(t *testing.T, ca string, args ...string) (string, int) {
	t.Helper()
	cmd := s.exec(ca, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// issues gets a certificate with a join token from the server of s.
func (s site) issues(t *testing.T, ca string) {
	t.Helper()
	out, code := s.issue(t, ca, s.joinToken(t, ca))
	require.Equal(t, exitOK, code, out)
	out, code = s.command(t, ca, "verify", filepath.Join(s.dir, "out", "tls.crt"), "--bundle", filepath.Join(s.dir, "bundle.pem"))
	require.Equal(t, exitOK, code, out)
}

// joinToken makes a join token and returns the file that has it.
func (s site) joinToken(t *testing.T, ca string) (file string) {
	t.Helper()
	out, code := s.command(t, ca, "token", "create", "--identity", "spiffe://example.org/vm/db-1", "-o", "json")
	require.Equal(t, exitOK, code, out)
	var token struct{ Token string }
	decode(t, out, &token)
	file = filepath.Join(s.dir, "join")
	require.NoError(t, os.WriteFile(file, []byte(token.Token), 0o600))
	return file
}

// issue asks for a certificate with the token in a file.
func (s site) issue(t *testing.T, ca, tokenFile string) (string, int) {
	t.Helper()
	bundle := filepath.Join(s.dir, "bundle.pem")
	root, err := os.ReadFile(filepath.Join(s.config.Root.Dir, "root.pem"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(bundle, root, 0o600))
	return s.command(t, ca, "issue", "--server", s.config.Listen, "--bundle", bundle,
		"--token-file", tokenFile, "--out", filepath.Join(s.dir, "out"))
}

func decode(t *testing.T, raw string, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(raw), v), "%s", raw)
}
