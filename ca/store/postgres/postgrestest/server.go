package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// Server is a running server. Its superuser is kedge, who needs no password unless
// Access says otherwise.
type Server struct {
	Dir  string // of the cluster, and of the socket
	Port int

	bin     string
	account *syscall.Credential // nil when the test is not root
	log     lockedBuffer

	mu     sync.Mutex
	cmd    *exec.Cmd // nil when it is stopped
	exited chan error
}

// Start makes a cluster and starts a server over it. Settings are lines of
// postgresql.conf.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := &Server{bin: findBin(t), Port: freePort(t)}
	s.account = account(t)
	var err error
	s.Dir, err = os.MkdirTemp("", "kedge-postgres-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(s.Dir)) })
	if s.account != nil {
		require.NoError(t, os.Chown(s.Dir, int(s.account.Uid), int(s.account.Gid)))
	}
	s.tool(t, "initdb", "-D", s.Dir, "-U", "kedge", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
	settings = append(slices.Clone(settings), "listen_addresses = '127.0.0.1'", "unix_socket_directories = '"+s.Dir+"'", "port = "+strconv.Itoa(s.Port),
		"max_connections = 200", "shared_buffers = 16MB", "log_statement = none")
	s.write(t, "postgresql.auto.conf", strings.Join(settings, "\n")+"\n")
	s.Run(t)
	t.Cleanup(func() { s.Stop(t, syscall.SIGQUIT) })
	return s
}

// findBin looks where Debian and others put the server's programs.
func findBin(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // fails for a malformed pattern only
	require.NoError(t, err)
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		t.Skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
	}
	return filepath.Dir(path)
}

// account is whom the server runs as: it refuses to run as root.
func account(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		require.NoError(t, err)
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		require.NoError(t, err)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
	return nil
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

func (s *Server) tool(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := s.command(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
}

// write makes a file of the cluster, which only the server's user can read.
func (s *Server) write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(s.Dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	if s.account != nil {
		require.NoError(t, os.Chown(path, int(s.account.Uid), int(s.account.Gid)))
	}
	return path
}

// Run starts the server when it is stopped, and waits until it answers.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd = s.command(context.Background(), "postgres", "-D", s.Dir)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	exited, started := make(chan error, 1), make(chan error)
	cmd := s.cmd
	go func() { // the server gets Pdeathsig when the thread that started it ends: this one waits
		err := cmd.Start()
		started <- err
		if err == nil {
			exited <- cmd.Wait()
		}
	}()
	require.NoError(t, <-started)
	s.exited = exited
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.Eventually(t, func() bool {
		c, err := pgx.Connect(ctx, s.url("postgres"))
		return err == nil && c.Close(ctx) == nil
	}, 30*time.Second, 20*time.Millisecond, "%s", &s.log)
}

// Stop ends the server by a signal: SIGTERM waits for sessions, SIGINT ends them,
// SIGQUIT is a crash that its next start recovers from (pg_ctl stop -m immediate).
func (s *Server) Stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	require.NoError(t, s.cmd.Process.Signal(signal))
	select {
	case <-s.exited: // an exit status after a signal says nothing
	case <-time.After(30 * time.Second):
		require.Fail(t, "the server does not stop", "%s", &s.log)
	}
	s.cmd = nil
}

// Restart crashes the server and starts it again.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop(t, syscall.SIGQUIT)
	s.Run(t)
}

// Access replaces the lines that say who may connect (pg_hba.conf). The superuser
// keeps the socket.
func (s *Server) Access(t testing.TB, lines ...string) {
	t.Helper()
	s.write(t, "pg_hba.conf", "local all kedge trust\n"+strings.Join(lines, "\n")+"\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
}

// WriteFile makes a file beside the cluster that the server can read, and returns
// its path.
func (s *Server) WriteFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	return s.write(t, name, string(content))
}

func (s *Server) url(database string) string {
	return "postgres://kedge@/" + database + "?host=" + s.Dir + "&port=" + strconv.Itoa(s.Port)
}

// SQL runs statements in a database.
func (s *Server) SQL(t testing.TB, database, statements string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.url(database))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close(ctx)) }()
	_, err = c.PgConn().Exec(ctx, statements).ReadAll()
	require.NoError(t, err)
}

// Database makes a database and returns its URL over TCP.
func (s *Server) Database(t testing.TB, name string) string {
	t.Helper()
	return Database(t, s.URL(""), name)
}

// Database makes a database, if there is none of that name yet, on the server at
// base, which is what URL("") returned in this process or in its parent.
func Database(t testing.TB, base, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, base+"postgres")
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close(ctx)) }()
	_, err = c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "42P04" { // duplicate_database
		require.NoError(t, err)
	}
	return base + name
}

// URL is that of a database over TCP.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://kedge@127.0.0.1:%d/%s", s.Port, database)
}

// lockedBuffer takes the server's output while a test may read it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
