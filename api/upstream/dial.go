package upstream

import (
	"crypto"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	upstreamv1 "github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/api/peercred"
	"github.com/kedge-ca/kedge/fips"
)

// MaxAnswer bounds what a client takes in, in bytes: far above a chain.
const MaxAnswer = 1 << 20

// DialConfig is what a connection needs.
type DialConfig struct {
	Socket  string   // path
	Servers []uint32 // users whose server is trusted
}

// Dial makes a connection that is opened at the first call and again whenever it
// was lost. A server of a user that c does not name gets not one byte.
func Dial(c DialConfig) (*grpc.ClientConn, error) {
	if c.Socket == "" || len(c.Servers) == 0 {
		return nil, fmt.Errorf("upstream connection needs a socket and the user whose server it is")
	}
	servers := slices.Clone(c.Servers)
	conn, err := grpc.NewClient("unix:"+c.Socket,
		grpc.WithTransportCredentials(peercred.Credentials(peercred.Config{
			AllowServer: func(uid uint32) bool { return slices.Contains(servers, uid) },
		})),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithMaxHeaderListSize(16<<10),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxAnswer)),
		// A server that comes back on this machine is worth asking soon.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("upstream socket %s: %w", c.Socket, err)
	}
	return conn, nil
}

// HashOf is the hash of a scheme on the wire.
func HashOf(s fips.SignatureScheme) upstreamv1.Hash {
	switch s.Hash {
	case crypto.SHA256:
		return upstreamv1.Hash_HASH_SHA256
	case crypto.SHA384:
		return upstreamv1.Hash_HASH_SHA384
	}
	return upstreamv1.Hash_HASH_UNSPECIFIED
}
