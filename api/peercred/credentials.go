package peercred

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Config decides who may be at the other end. A function that is missing lets
// nobody in.
type Config struct {
	AllowClient func(uid uint32) bool // asked by a server
	AllowServer func(uid uint32) bool // asked by a client
}

// Credentials are transport credentials for Unix sockets under c.
func Credentials(c Config) credentials.TransportCredentials { return &transport{c: c} }

// AuthInfo is who is at the other end. PID is the process that connected, or that
// began to listen: it may have ended since, and another may have its number.
type AuthInfo struct {
	UID, GID uint32
	PID      int32
}

// AuthType implements credentials.AuthInfo.
func (AuthInfo) AuthType() string { return "peercred" }

// UID is the user that made the call of ctx, false where the connection was not
// made with Credentials.
func UID(ctx context.Context) (uint32, bool) {
	a, ok := Peer(ctx)
	return a.UID, ok
}

// Peer is who made the call of ctx, false where the connection was not made with
// Credentials.
func Peer(ctx context.Context) (AuthInfo, bool) {
	if p, ok := peer.FromContext(ctx); ok {
		a, ok := p.AuthInfo.(AuthInfo)
		return a, ok
	}
	return AuthInfo{}, false
}

type transport struct{ c Config }

func (t *transport) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return handshake(conn, t.c.AllowClient)
}

func (t *transport) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return handshake(conn, t.c.AllowServer)
}

// RefusedError says that the user at the other end is not one of those allowed.
type RefusedError struct{ UID uint32 }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("user %d at the other end of the socket is not allowed", e.UID)
}

func handshake(conn net.Conn, allow func(uid uint32) bool) (net.Conn, credentials.AuthInfo, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("asking who is at the other end: the connection is a %T, not a Unix socket", conn)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("asking who is at the other end: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return nil, nil, fmt.Errorf("asking who is at the other end: %w", err)
	}
	if allow == nil || !allow(cred.Uid) {
		return nil, nil, &RefusedError{UID: cred.Uid}
	}
	return conn, AuthInfo{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}

func (*transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}

func (t *transport) Clone() credentials.TransportCredentials { return t }

func (*transport) OverrideServerName(string) error { return nil }
