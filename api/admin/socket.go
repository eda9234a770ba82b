package admin

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"google.golang.org/grpc/credentials"

	"github.com/kedge-ca/kedge/api/peercred"
	"github.com/kedge-ca/kedge/ca"
)

// Listen makes the socket with mode 0600; see peercred.Listen for what it replaces.
func Listen(path string) (net.Listener, error) {
	listener, err := peercred.Listen(path)
	if err != nil {
		return nil, fmt.Errorf("admin %w", err)
	}
	return listener, nil
}

// Credentials are transport credentials with which a server lets in root and its
// own user. A client takes any server: root asks one of another user, and what it
// says is no secret.
func Credentials() credentials.TransportCredentials {
	return peercred.Credentials(peercred.Config{
		AllowClient: func(uid uint32) bool { return uid == 0 || int(uid) == os.Getuid() },
		AllowServer: func(uint32) bool { return true },
	})
}

// actor is the operator as events name it.
func actor(ctx context.Context) (string, error) {
	if uid, ok := peercred.UID(ctx); ok {
		return "uid:" + strconv.FormatUint(uint64(uid), 10), nil
	}
	return "", ca.Refuse(ca.ReasonNoCredentials, "admin call without peer credentials")
}
