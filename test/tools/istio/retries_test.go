package istio

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	pb "istio.io/api/security/v1alpha1"
	"istio.io/istio/security/pkg/nodeagent/caclient/providers/citadel"
)

// gateway stands between an agent and a server and counts the calls. It passes
// credentials, requests, answers and statuses on as they are.
type gateway struct {
	pb.UnimplementedIstioCertificateServiceServer
	address string
	rootCA  string // file with the gateway's own anchor
	calls   atomic.Int64
	forward func(context.Context, *pb.IstioCertificateRequest) (*pb.IstioCertificateResponse, error)
	codes   chan codes.Code // of every answer
}

// newGateway starts a gateway; forward nil means to the server s.
func newGateway(t *testing.T, s *server, forward func(context.Context, *pb.IstioCertificateRequest) (*pb.IstioCertificateResponse, error)) *gateway {
	t.Helper()
	g := &gateway{forward: forward, codes: make(chan codes.Code, 64), rootCA: filepath.Join(t.TempDir(), "gateway.pem")}
	certificate := selfSigned(t, g.rootCA)
	if forward == nil {
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM([]byte(readFile(t, s.bundle))))
		conn, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots})))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		upstream := pb.NewIstioCertificateServiceClient(conn)
		g.forward = func(ctx context.Context, r *pb.IstioCertificateRequest) (*pb.IstioCertificateResponse, error) {
			return upstream.CreateCertificate(ctx, r)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g.address = l.Addr().String()
	gs := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(certificate)))
	pb.RegisterIstioCertificateServiceServer(gs, g)
	go func() { _ = gs.Serve(l) }()
	t.Cleanup(gs.Stop)
	return g
}

// CreateCertificate implements the service.
func (g *gateway) CreateCertificate(ctx context.Context, r *pb.IstioCertificateRequest) (*pb.IstioCertificateResponse, error) {
	g.calls.Add(1)
	in, _ := metadata.FromIncomingContext(ctx)
	out := metadata.MD{}
	for _, key := range []string{"authorization", "clusterid"} {
		if values := in.Get(key); len(values) > 0 {
			out.Set(key, values...)
		}
	}
	answer, err := g.forward(metadata.NewOutgoingContext(ctx, out), r)
	g.codes <- status.Code(err)
	return answer, err
}

// selfSigned makes a server certificate for loopback and writes it as an anchor.
func selfSigned(t *testing.T, anchorFile string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	writeFile(t, anchorFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A refusal that no retry can mend must not be retried: an agent in a loop would
// ask five times as often, for ever.
func TestRefusalsAreAskedOnce(t *testing.T) {
	issuer := newIssuer(t)
	s := startAuthority(t, authorityConfig{address: freeAddress(t), issuer: issuer})
	good := issuer.token(t, claims{})
	rows := []struct {
		name  string
		token string
		host  string
		want  codes.Code
	}{
		{"a good request", good, agentIdentity, codes.OK},
		{"token for another audience", issuer.token(t, claims{audience: "vault"}), agentIdentity, codes.Unauthenticated},
		{"expired token", issuer.token(t, claims{age: 2 * time.Hour}), agentIdentity, codes.Unauthenticated},
		{"token of another issuer", newIssuer(t).token(t, claims{}), agentIdentity, codes.Unauthenticated},
		{"no token", "", agentIdentity, codes.Unauthenticated},
		{"garbage for a token", "x.y.z", agentIdentity, codes.Unauthenticated},
		{"CSR for another service account", good, "spiffe://cluster.local/ns/default/sa/admin", codes.PermissionDenied},
		{"CSR for another trust domain", good, "spiffe://example.org/ns/default/sa/default", codes.PermissionDenied},
		{"CSR for a host name", good, "default.svc", codes.InvalidArgument},
		{"CSR for two identities", good, agentIdentity + ",spiffe://cluster.local/ns/kube-system/sa/admin", codes.InvalidArgument},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g := newGateway(t, s, nil)
			tokenFile := filepath.Join(t.TempDir(), "token")
			if row.token != "" {
				writeFile(t, tokenFile, row.token)
			}
			client := newClient(t, agentOptions(g.address, tokenFile), citadel.TLSOptions{RootCert: g.rootCA})
			csr, _ := newCSR(t, keyKinds[2], row.host)
			_, err := client.CSRSign(csr, 3600)
			require.Equal(t, row.want == codes.OK, err == nil, "%v", err)
			require.EqualValues(t, 1, g.calls.Load())
			require.Equal(t, row.want, <-g.codes)
		})
	}
}

// What the table of reasons and codes assumes of the agent: these codes are
// tried five times, no other is. DeadlineExceeded and Canceled stand in the
// agent's list, but its interceptor takes them for the caller's own deadline and
// gives up: an outage must never be answered with them.
func TestAgentRetriesOnlyTheCodesOfOutages(t *testing.T) {
	rows := map[codes.Code]int64{
		codes.OK: 1, codes.Unavailable: 5, codes.ResourceExhausted: 5, codes.Aborted: 5, codes.Internal: 5,
		codes.DeadlineExceeded: 1, codes.Canceled: 1,
		codes.InvalidArgument: 1, codes.Unauthenticated: 1, codes.PermissionDenied: 1, codes.NotFound: 1,
		codes.FailedPrecondition: 1, codes.Unimplemented: 1, codes.Unknown: 1,
	}
	for code, want := range rows {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, nil, func(context.Context, *pb.IstioCertificateRequest) (*pb.IstioCertificateResponse, error) {
				return &pb.IstioCertificateResponse{CertChain: []string{"leaf", "roots"}}, status.Error(code, "row of the table")
			})
			client := newClient(t, agentOptions(g.address, ""), citadel.TLSOptions{RootCert: g.rootCA})
			_, err := client.CSRSign([]byte("csr"), 3600)
			require.Equal(t, code == codes.OK, err == nil, "%v", err)
			require.Equal(t, want, g.calls.Load())
		})
	}
}

func TestQuotaIsRetriedAndThenServed(t *testing.T) {
	issuer := newIssuer(t)
	s := startAuthority(t, authorityConfig{
		address: freeAddress(t), issuer: issuer, limits: "  identityRate: 2\n  identityBurst: 1\n",
	})
	g := newGateway(t, s, nil)
	client := newClient(t, agentOptions(g.address, s.token), citadel.TLSOptions{RootCert: g.rootCA})
	for range 3 {
		csr, _ := newCSR(t, keyKinds[2], agentIdentity)
		_, err := client.CSRSign(csr, 3600)
		require.NoError(t, err, "the agent's backoff reaches past the quota")
	}
	require.Greater(t, g.calls.Load(), int64(3), "no call was refused")
	seen := map[codes.Code]bool{}
	for range g.calls.Load() {
		seen[<-g.codes] = true
	}
	require.Equal(t, map[codes.Code]bool{codes.OK: true, codes.ResourceExhausted: true}, seen)
}

// An agent outlives a restart of the server without an operator.
func TestRestartOfTheServerIsBridgedByTheAgentsRetries(t *testing.T) {
	issuer, address := newIssuer(t), freeAddress(t)
	s := startAuthority(t, authorityConfig{address: address, issuer: issuer})
	client := newClient(t, agentOptions(address, s.token), citadel.TLSOptions{RootCert: s.bundle})
	csr, _ := newCSR(t, keyKinds[2], agentIdentity)
	_, err := client.CSRSign(csr, 3600)
	require.NoError(t, err)

	args := s.cmd.Args[1:]
	s.stop(t)
	_, err = client.CSRSign(csr, 3600)
	require.ErrorContains(t, err, "Unavailable")
	again := &server{address: address}
	again.start(t, args...)
	require.Eventually(t, func() bool {
		csr, _ := newCSR(t, keyKinds[2], agentIdentity)
		_, err := client.CSRSign(csr, 3600)
		return err == nil
	}, pushLimit, 100*time.Millisecond)
}
