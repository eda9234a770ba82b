package peercred_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/peercred"
)

func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pc")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func anyone(uint32) bool { return true }

func only(want uint32) func(uint32) bool { return func(uid uint32) bool { return uid == want } }

func me() uint32 { return uint32(os.Getuid()) }

// meet connects a client to a socket that listen made and has both ask who is
// there.
func meet(t *testing.T, c peercred.Config, listen func(path string) (net.Listener, error)) (server, client error) {
	t.Helper()
	path := socket(t)
	l, err := listen(path)
	require.NoError(t, err)
	defer l.Close()
	creds := peercred.Credentials(c)
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			var info any
			_, info, err = creds.ServerHandshake(conn)
			if err == nil && info != (peercred.AuthInfo{UID: me(), GID: uint32(os.Getgid()), PID: int32(os.Getpid())}) {
				err = errors.New("the client is another")
			}
		}
		served <- err
	}()
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer conn.Close()
	_, _, client = creds.ClientHandshake(context.Background(), "", conn)
	return <-served, client
}

func TestEachSideDecidesByUser(t *testing.T) {
	server, client := meet(t, peercred.Config{AllowClient: only(me()), AllowServer: only(me())}, peercred.Listen)
	require.NoError(t, server)
	require.NoError(t, client)

	var refused *peercred.RefusedError
	server, client = meet(t, peercred.Config{AllowClient: only(me() + 1), AllowServer: only(me() + 1)}, peercred.Listen)
	require.ErrorAs(t, server, &refused)
	require.Equal(t, me(), refused.UID)
	require.ErrorAs(t, client, &refused)

	server, client = meet(t, peercred.Config{}, peercred.Listen)
	require.ErrorAs(t, server, &refused, "who is not named is nobody")
	require.ErrorAs(t, client, &refused)
}

// TestTheKernelNamesWhoListens has another user listen, which needs root.
func TestTheKernelNamesWhoListens(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can take another user's id")
	}
	const nobody = 65534
	listen := func(path string) (net.Listener, error) {
		require.NoError(t, os.Chmod(filepath.Dir(path), 0o777))
		type result struct {
			l   net.Listener
			err error
		}
		done := make(chan result)
		go func() {
			runtime.LockOSThread() // the thread keeps the user and ends with the goroutine
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
				done <- result{nil, errno}
				return
			}
			l, err := net.Listen("unix", path)
			done <- result{l, err}
		}()
		r := <-done
		return r.l, r.err
	}
	server, client := meet(t, peercred.Config{AllowClient: anyone, AllowServer: only(me())}, listen)
	require.NoError(t, server)
	var refused *peercred.RefusedError
	require.ErrorAs(t, client, &refused)
	require.Equal(t, uint32(nobody), refused.UID)
	_, client = meet(t, peercred.Config{AllowClient: anyone, AllowServer: only(nobody)}, listen)
	require.NoError(t, client)
}

func TestOtherConnectionsAreRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	creds := peercred.Credentials(peercred.Config{AllowClient: anyone, AllowServer: anyone})
	_, _, err = creds.ServerHandshake(conn)
	require.ErrorContains(t, err, "not a Unix socket")
	_, _, err = creds.ClientHandshake(t.Context(), "", conn)
	require.ErrorContains(t, err, "not a Unix socket")
	_, ok := peercred.UID(t.Context())
	require.False(t, ok)
}

func TestSocketIsTheOwnersOnly(t *testing.T) {
	path := socket(t)
	l, err := peercred.Listen(path)
	require.NoError(t, err)
	defer l.Close()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket|0o600, info.Mode())
	_, err = peercred.Listen(path)
	require.ErrorContains(t, err, "another server answers")
	_, err = peercred.Listen("/tmp/" + strings.Repeat("x", 108))
	require.ErrorContains(t, err, "at most 107")
}
