package upstreamtest

import (
	"context"
	"crypto"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	upstreamv1 "github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/api/peercred"
	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Domain is the trust domain of every test.
func Domain(t testing.TB) ca.TrustDomain {
	t.Helper()
	domain, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	return domain
}

// Policy is the policy of every test.
func Policy(t testing.TB) fips.Policy {
	t.Helper()
	policy, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	return policy
}

// Me is the user that runs the test.
func Me() uint32 { return uint32(os.Getuid()) }

// Serve runs a real server on a socket and returns a client. What c leaves out is
// filled in: trust domain, policy, users, clock; a call that panicked fails the test.
func Serve(t testing.TB, c upstream.Config) upstreamv1.UpstreamClient {
	t.Helper()
	if c.TrustDomain.IsZero() {
		c.TrustDomain = Domain(t)
	}
	if c.Policy.Name() == "" {
		c.Policy = Policy(t)
	}
	if c.Users == nil {
		c.Users = []uint32{Me()}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Done == nil {
		c.Done = func(call upstream.Call) {
			if call.Panic != nil {
				t.Errorf("%s: %s", call.Method, call.Panic)
			}
		}
	}
	server, err := upstream.NewServer(c)
	require.NoError(t, err)
	return Client(t, Listen(t, server))
}

// ServeFake runs any implementation of the API on a socket and returns a client.
func ServeFake(t testing.TB, fake upstreamv1.UpstreamServer) upstreamv1.UpstreamClient {
	t.Helper()
	server := grpc.NewServer(grpc.Creds(peercred.Credentials(peercred.Config{AllowClient: func(uint32) bool { return true }})))
	upstreamv1.RegisterUpstreamServer(server, fake)
	return Client(t, Listen(t, server))
}

// Socket is a path for a socket: t.TempDir may be longer than a socket's path can
// be.
func Socket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "up")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// Listen serves server on a socket until the test ends and returns its path.
func Listen(t testing.TB, server *grpc.Server) string {
	t.Helper()
	path := Socket(t)
	listener, err := peercred.Listen(path)
	require.NoError(t, err)
	ServeOn(t, server, listener)
	return path
}

// ServeOn serves server until the test ends.
func ServeOn(t testing.TB, server *grpc.Server, listener net.Listener) {
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
}

// Client is a client of the server at a socket that this user runs.
func Client(t testing.TB, socket string) upstreamv1.UpstreamClient {
	t.Helper()
	conn, err := upstream.Dial(upstream.DialConfig{Socket: socket, Servers: []uint32{Me()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return upstreamv1.NewUpstreamClient(conn)
}

// Root is a root in memory. It implements ca.Root.
type Root struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	Policy      fips.Policy
}

// NewRoot makes a root of ten years with a key of its own.
func NewRoot(t testing.TB, now time.Time) *Root {
	t.Helper()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	return NewRootWith(t, key, now)
}

// NewRootWith makes a root of ten years with the given key.
func NewRootWith(t testing.TB, key crypto.Signer, now time.Time) *Root {
	t.Helper()
	cert, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: Domain(t), NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.RootLifetime),
		Signer: key, Policy: Policy(t),
	})
	require.NoError(t, err)
	return &Root{Certificate: cert, Key: key, Policy: Policy(t)}
}

// Anchor implements ca.Root.
func (r *Root) Anchor(context.Context) (*x509.Certificate, error) { return r.Certificate, nil }

// SignIntermediate implements ca.Root.
func (r *Root) SignIntermediate(_ context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{
		Anchor: r.Certificate, AnchorSigner: r.Key, CSR: csr, Policy: r.Policy, Request: p,
	})
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{cert}, nil
}
