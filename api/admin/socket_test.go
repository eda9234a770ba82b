package admin_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api/admin"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

func TestTheSocketIsTheOwnersOnly(t *testing.T) {
	path := socketPath(t)
	l, err := admin.Listen(path)
	require.NoError(t, err)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket|0o600, info.Mode())
	old := syscall.Umask(0)
	syscall.Umask(old)
	require.NotEqual(t, 0o177, old, "the process's mask is as it was")
	require.NoError(t, l.Close())
}

func TestASocketThatACrashLeftIsReplaced(t *testing.T) {
	path := socketPath(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	require.FileExists(t, path)
	l, err := admin.Listen(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestWhatIsInTheWayStays(t *testing.T) {
	rows := map[string]func(t *testing.T, path string){
		"a live socket": func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, l.Close()) })
		},
		"a live socket with a full queue": func(t *testing.T, path string) {
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, syscall.Close(fd)) })
			require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
			require.NoError(t, syscall.Listen(fd, 0))
			for { // nobody accepts: the queue of connections is soon full
				conn, err := net.Dial("unix", path)
				if err != nil {
					require.ErrorIs(t, err, syscall.EAGAIN)
					return
				}
				t.Cleanup(func() { require.NoError(t, conn.Close()) })
			}
		},
		"a file":      func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("x"), 0o600)) },
		"a directory": func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) },
		"a pipe":      func(t *testing.T, path string) { require.NoError(t, syscall.Mkfifo(path, 0o600)) },
		"a link to a socket": func(t *testing.T, path string) {
			l, err := net.Listen("unix", path+".real")
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, l.Close()) })
			require.NoError(t, os.Symlink(path+".real", path))
		},
	}
	for name, put := range rows {
		t.Run(name, func(t *testing.T) {
			path := socketPath(t)
			put(t, path)
			before, err := os.Lstat(path)
			require.NoError(t, err)
			_, err = admin.Listen(path)
			require.Error(t, err)
			after, err := os.Lstat(path)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
		})
	}
}

func TestASocketNeedsADirectoryAndAShortName(t *testing.T) {
	_, err := admin.Listen(filepath.Join(t.TempDir(), strings.Repeat("x", 108)))
	require.ErrorContains(t, err, "at most 107")
	_, err = admin.Listen("/nonexistent/admin.sock")
	require.Error(t, err)
}

// TestOnlyTheKernelSaysWhoIsCalling: over a network nobody gets in, and served
// by mistake without the credentials the service refuses what changes anything.
func TestOnlyTheKernelSaysWhoIsCalling(t *testing.T) {
	w := newWorld(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	guarded := grpc.NewServer(grpc.Creds(admin.Credentials()))
	require.NoError(t, admin.Register(guarded, config(w)))
	serve(t, guarded, tcp)
	_, err = plain(t, tcp.Addr().String()).Status(t.Context(), &kedgev1.StatusRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))

	open, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	mistake := grpc.NewServer(grpc.Creds(insecure.NewCredentials()), grpc.UnaryInterceptor(admin.UnaryInterceptor(discard())))
	require.NoError(t, admin.Register(mistake, config(w)))
	serve(t, mistake, open)
	client := plain(t, open.Addr().String())
	_, err = client.CreateJoinToken(t.Context(), &kedgev1.CreateJoinTokenRequest{Identity: workload})
	apitest.RequireRefused(t, ca.ReasonNoCredentials, err)
	_, err = client.Repair(t.Context(), &kedgev1.RepairRequest{})
	apitest.RequireRefused(t, ca.ReasonNoCredentials, err)
	_, err = client.RenewIntermediate(t.Context(), &kedgev1.RenewIntermediateRequest{})
	apitest.RequireRefused(t, ca.ReasonNoCredentials, err)
	_, err = client.SelfTest(t.Context(), &kedgev1.SelfTestRequest{})
	apitest.RequireRefused(t, ca.ReasonNoCredentials, err)
	_, err = client.Reload(t.Context(), &kedgev1.ReloadRequest{})
	apitest.RequireRefused(t, ca.ReasonNoCredentials, err)
	require.Empty(t, w.ops.done)
	require.Empty(t, w.store.tokens)
	require.Empty(t, w.store.Log.Actions())
}
