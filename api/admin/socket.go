package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/kedge-ca/kedge/ca"
)

// maxSocketPath is the length that a socket's path may have (unix(7)).
const maxSocketPath = 107

// Listen makes the socket with mode 0600. A socket that a crash left behind is
// replaced; one that still answers, or a file of another kind, is not.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: the path has %d bytes, at most %d are possible", path, len(path), maxSocketPath)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("admin socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("admin socket %s: there is something else of that name", path)
	default:
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	old := syscall.Umask(0o177)
	listener, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return listener, nil
}

// removeStale removes a socket on which nobody listens any more. Only a refused
// connection says so (connect(2)): a server with a full queue answers EAGAIN.
func removeStale(path string) error {
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("admin socket %s: another server answers on it", path), conn.Close())
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("admin socket %s: another server may be listening on it: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	return nil
}

// Credentials are transport credentials that ask the kernel who is at the other
// end (SO_PEERCRED, unix(7)) and let in root and this process's own user.
func Credentials() credentials.TransportCredentials { return peerCredentials{} }

type peerCredentials struct{}

// operator is who is at the other end.
type operator struct{ uid uint32 }

// AuthType implements credentials.AuthInfo.
func (operator) AuthType() string { return "peercred" }

func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("admin connection over %T", conn)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("admin connection: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return nil, nil, fmt.Errorf("asking who is at the admin socket: %w", err)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Getuid() {
		return nil, nil, fmt.Errorf("user %d is neither root nor the server's own", cred.Uid)
	}
	return conn, operator{uid: cred.Uid}, nil
}

func (peerCredentials) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, operator{}, nil
}

func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}

func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

func (peerCredentials) OverrideServerName(string) error { return nil }

// actor is the operator as events name it.
func actor(ctx context.Context) (string, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if o, ok := p.AuthInfo.(operator); ok {
			return "uid:" + strconv.FormatUint(uint64(o.uid), 10), nil
		}
	}
	return "", ca.Refuse(ca.ReasonNoCredentials, "admin call without peer credentials")
}
