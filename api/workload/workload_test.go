package workload_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	pb "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/agent"
	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/api/peercred"
	"github.com/kedge-ca/kedge/api/workload"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

type silent struct{}

func (silent) Renewed(*client.Certificate)          {}
func (silent) Failed(ca.Identity, error, time.Time) {}

// world is an agent of one workload, of a user, with the Workload API on a socket.
type world struct {
	server *apitest.Server
	api    pb.SpiffeWorkloadAPIClient
}

func newWorld(t *testing.T, selector agent.Selector, digest func(int32) (agent.Digest, error)) world {
	t.Helper()
	s := apitest.New(t, apitest.Options{})
	source, err := client.New(client.Config{Server: s.Address, Bundle: s.CA.Bundle.PEM(), Token: s.Token(t, "a")})
	require.NoError(t, err)
	id, err := ca.ParseIdentity(s.Identity("a"))
	require.NoError(t, err)
	a, err := agent.New(agent.Config{
		TrustDomain: s.CA.Domain, Digest: digest, Now: time.Now, Events: silent{},
		Workloads: []agent.Workload{{Identity: id, Selector: selector, Source: source}},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return world{s, dial(t, a)}
}

func dial(t *testing.T, a *agent.Agent) pb.SpiffeWorkloadAPIClient {
	t.Helper()
	dir, err := os.MkdirTemp("", "wl")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := peercred.Listen(filepath.Join(dir, "s"))
	require.NoError(t, err)
	return connect(t, a, l, workload.Credentials(), "unix:"+filepath.Join(dir, "s"))
}

func connect(t *testing.T, a *agent.Agent, l net.Listener, creds credentials.TransportCredentials, target string) pb.SpiffeWorkloadAPIClient {
	t.Helper()
	var options []grpc.ServerOption
	if creds != nil {
		options = append(options, grpc.Creds(creds))
	}
	g := grpc.NewServer(options...)
	require.NoError(t, workload.Register(g, a))
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		g.Stop()
		require.NoError(t, <-served)
	})
	return pb.NewSpiffeWorkloadAPIClient(conn)
}

func me() agent.Selector {
	uid := uint32(os.Getuid())
	return agent.Selector{UID: &uid}
}

func stranger() agent.Selector {
	uid := uint32(os.Getuid()) + 1
	return agent.Selector{UID: &uid}
}

func secured(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true")
}

func TestAWorkloadGetsItsCertificateAndEachChange(t *testing.T) {
	w := newWorld(t, me(), agent.DigestOf)
	stream, err := w.api.FetchX509SVID(secured(t.Context()), &pb.X509SVIDRequest{})
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	require.Len(t, first.GetSvids(), 1)
	svid := first.GetSvids()[0]
	require.Equal(t, w.server.Identity("a"), svid.GetSpiffeId())
	chain, err := x509.ParseCertificates(svid.GetX509Svid())
	require.NoError(t, err)
	require.Len(t, chain, 2, "the leaf first, without anchors")
	require.Equal(t, svid.GetSpiffeId(), chain[0].URIs[0].String())
	key, err := x509.ParsePKCS8PrivateKey(svid.GetX509SvidKey())
	require.NoError(t, err)
	require.True(t, fips.PublicKeyEqual(chain[0].PublicKey, key.(crypto.Signer).Public()))
	require.Equal(t, der(w.server.CA.Bundle), svid.GetBundle())

	next := w.server.Republish(t)
	pushed, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, der(next), pushed.GetSvids()[0].GetBundle())
	require.Equal(t, svid.GetX509Svid(), pushed.GetSvids()[0].GetX509Svid())
}

func TestBundlesAreKeyedByTheTrustDomainAndPushed(t *testing.T) {
	w := newWorld(t, me(), agent.DigestOf)
	stream, err := w.api.FetchX509Bundles(secured(t.Context()), &pb.X509BundlesRequest{})
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{w.server.CA.Domain.URI(): der(w.server.CA.Bundle)}, first.GetBundles())
	next := w.server.Republish(t)
	pushed, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, der(next), pushed.GetBundles()[w.server.CA.Domain.URI()])
}

// der is the anchors of b, one after the other.
func der(b *ca.Bundle) []byte {
	var out []byte
	for _, a := range b.Anchors() {
		out = append(out, a.Certificate.Raw...)
	}
	return out
}

// calls are all methods, each as far as its first answer.
func calls(api pb.SpiffeWorkloadAPIClient) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"FetchX509SVID": func(ctx context.Context) error {
			return first(api.FetchX509SVID(ctx, &pb.X509SVIDRequest{}))
		},
		"FetchX509Bundles": func(ctx context.Context) error {
			return first(api.FetchX509Bundles(ctx, &pb.X509BundlesRequest{}))
		},
		"FetchJWTBundles": func(ctx context.Context) error {
			return first(api.FetchJWTBundles(ctx, &pb.JWTBundlesRequest{}))
		},
		"FetchWITSVID": func(ctx context.Context) error {
			return first(api.FetchWITSVID(ctx, &pb.WITSVIDRequest{}))
		},
		"FetchWITBundles": func(ctx context.Context) error {
			return first(api.FetchWITBundles(ctx, &pb.WITBundlesRequest{}))
		},
		"FetchJWTSVID": func(ctx context.Context) error {
			_, err := api.FetchJWTSVID(ctx, &pb.JWTSVIDRequest{Audience: []string{"a"}})
			return err
		},
		"ValidateJWTSVID": func(ctx context.Context) error {
			_, err := api.ValidateJWTSVID(ctx, &pb.ValidateJWTSVIDRequest{Audience: "a"})
			return err
		},
	}
}

func first[T any](stream grpc.ServerStreamingClient[T], err error) error {
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

func TestEveryCallNeedsTheHeader(t *testing.T) {
	w := newWorld(t, me(), agent.DigestOf)
	for name, call := range calls(w.api) {
		require.Equal(t, codes.InvalidArgument, status.Code(call(t.Context())), name)
		for _, value := range []string{"false", "TRUE", ""} {
			wrong := metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", value)
			require.Equal(t, codes.InvalidArgument, status.Code(call(wrong)), name)
		}
	}
}

func TestWhatIsNotServedSaysSo(t *testing.T) {
	w := newWorld(t, me(), agent.DigestOf)
	for name, call := range calls(w.api) {
		want := codes.Unimplemented
		if name == "FetchX509SVID" || name == "FetchX509Bundles" {
			want = codes.OK
		}
		require.Equal(t, want, status.Code(call(secured(t.Context()))), name)
	}
}

func TestStrangersGetNothing(t *testing.T) {
	uid := uint32(os.Getuid())
	unreadable := func(int32) (agent.Digest, error) { return agent.Digest{}, errors.New("gone") }
	for name, row := range map[string]struct {
		selector agent.Selector
		digest   func(int32) (agent.Digest, error)
		want     codes.Code
	}{
		"another user":                            {stranger(), agent.DigestOf, codes.PermissionDenied},
		"another executable":                      {agent.Selector{UID: &uid, Executable: &agent.Digest{}}, agent.DigestOf, codes.PermissionDenied},
		"an executable that cannot be read today": {agent.Selector{UID: &uid, Executable: &agent.Digest{}}, unreadable, codes.Unavailable},
	} {
		w := newWorld(t, row.selector, row.digest)
		for _, method := range []string{"FetchX509SVID", "FetchX509Bundles"} {
			require.Equal(t, row.want, status.Code(calls(w.api)[method](secured(t.Context()))), name)
		}
	}
}

// TestAServerWithoutTheCredentialsLetsNobodyIn: whoever wires it wrongly has a server
// that refuses, not one that believes.
func TestAServerWithoutTheCredentialsLetsNobodyIn(t *testing.T) {
	id, err := ca.ParseIdentity("spiffe://example.org/a")
	require.NoError(t, err)
	a, err := agent.New(agent.Config{
		TrustDomain: id.TrustDomain(), Digest: agent.DigestOf, Now: time.Now, Events: silent{},
		Workloads: []agent.Workload{{Identity: id, Selector: me(), Source: &client.Client{}}},
	})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	api := connect(t, a, l, nil, l.Addr().String())
	require.Equal(t, codes.PermissionDenied, status.Code(calls(api)["FetchX509SVID"](secured(t.Context()))))
	require.Error(t, workload.Register(grpc.NewServer(), nil))
}
