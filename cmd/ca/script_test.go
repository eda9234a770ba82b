package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/store/postgres/postgrestest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) {
	if !fipstest.RequireBackend(os.Getenv(fipstest.ExpectVar), fips.ActiveBackend(), os.Stderr) {
		os.Exit(1)
	}
	code := m.Run()
	os.Exit(max(code, fixtures.remove(os.Stderr)))
}

// TestScripts runs testdata/script: command lines as an operator types them.
// A script finds a free address in $ADDR and makes a server with `exec ca dev … &`
// and `serving DIR`.
func TestScripts(t *testing.T) {
	runScripts(t, "testdata/script", nil)
}

// TestStoreScripts are those that need a PostgreSQL server, at $URL.
func TestStoreScripts(t *testing.T) {
	url := postgrestest.Start(t).Database(t, "kedge")
	runScripts(t, "testdata/storescript", map[string]string{"URL": url})
}

func runScripts(t *testing.T, dir string, more map[string]string) {
	t.Helper()
	bin := buildCA(t)
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			addr, err := freeAddr()
			if err != nil {
				return err
			}
			ops, err := freeAddr()
			if err != nil {
				return err
			}
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("ADDR", addr)
			env.Setenv("OPS", ops)
			for name, value := range more {
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"serving": awaitServer, "perm": perm, "rotations": serveRotation, "code": exitCode},
	})
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// awaitServer waits until the server whose directory is given answers.
func awaitServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serving DIR")
	}
	socket := ts.MkAbs(filepath.Join(args[0], "admin.sock"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			ts.Check(conn.Close())
			if isServing(ts.Getenv("ADDR"), ts.MkAbs(args[0])) {
				return
			}
		}
		if err := waitABit(ctx); err != nil {
			ts.Fatalf("%s does not serve", args[0])
		}
	}
}

// isServing tells whether the address answers and, where ca dev serves, the files
// that it writes last are there.
func isServing(addr, dir string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	if _, err := os.Stat(filepath.Join(dir, "secrets")); err != nil {
		return true
	}
	_, err = os.Stat(filepath.Join(dir, "token"))
	return err == nil
}

func waitABit(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return errors.New("timed out")
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

// perm checks the mode of a file: perm 0600 FILE.
func perm(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, not %s", args[1], got, args[0])
	}
}

// TestReadmeCommandsWork runs the commands of README.md after `make run`, byte for
// byte, against the server that `make run` would start.
func TestReadmeCommandsWork(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	blocks := strings.Split(string(raw), "```sh\n")
	require.GreaterOrEqual(t, len(blocks), 3)
	require.Contains(t, blocks[1], "make run")
	require.Contains(t, blocks[1], "make test")
	commands, _, _ := strings.Cut(blocks[2], "```")
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	require.Contains(t, string(makefile), "DIR    ?= kedge-dev\nLISTEN ?= 127.0.0.1:8443\n")

	dir, addr := t.TempDir(), ""
	addr, err = freeAddr()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(buildCA(t), filepath.Join(dir, "bin")))
	server := exec.Command(filepath.Join(dir, "bin", "ca"), "dev", "--dir", "kedge-dev", "--listen", addr)
	server.Dir = dir
	out, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	})
	buffer := make([]byte, 4096)
	printed := ""
	for !strings.Contains(printed, "ready: ") {
		n, err := out.Read(buffer)
		require.NoError(t, err, "%s", printed)
		printed += string(buffer[:n])
	}
	// The command that ca dev prints is the README's, but for the address.
	first, _, _ := strings.Cut(commands, "\n")
	require.Contains(t, printed, strings.TrimPrefix(strings.ReplaceAll(first, "127.0.0.1:8443", addr), "bin/ca"))

	shell := exec.CommandContext(t.Context(), "bash", "-euc", strings.ReplaceAll(commands, "127.0.0.1:8443", addr))
	shell.Dir = dir
	got, err := shell.CombinedOutput()
	require.NoError(t, err, "%s", got)
	require.Contains(t, string(got), "my-workload/tls.crt: OK")
	require.Contains(t, string(got), "spiffe://cluster.local/ns/default/sa/default")
}
