package upstream_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/api/peercred"
	apiupstream "github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// liar is an upstream that answers what a test says.
type liar struct {
	upstreamv1.UnimplementedUpstreamServer
	anchors func() ([][]byte, error)
	chain   func(ctx context.Context, csr *x509.CertificateRequest) ([][]byte, error)
}

func (l *liar) GetAnchors(context.Context, *upstreamv1.GetAnchorsRequest) (*upstreamv1.GetAnchorsResponse, error) {
	anchors, err := l.anchors()
	return &upstreamv1.GetAnchorsResponse{Anchors: anchors}, err
}

func (l *liar) SignIntermediate(ctx context.Context, r *upstreamv1.SignIntermediateRequest) (*upstreamv1.SignIntermediateResponse, error) {
	csr, err := x509.ParseCertificateRequest(r.GetCsr())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	chain, err := l.chain(ctx, csr)
	return &upstreamv1.SignIntermediateResponse{Chain: chain}, err
}

// forge is a root that signs whatever a test asks for.
type forge struct {
	t    *testing.T
	root *upstreamtest.Root
}

func (f *forge) anchors() ([][]byte, error) { return [][]byte{f.root.Certificate.Raw}, nil }

// sound is the certificate that a good upstream would make.
func (f *forge) sound() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(3), 120), Subject: pkix.Name{CommonName: "Intermediate"},
		URIs:      []*url.URL{{Scheme: "spiffe", Host: "cluster.local"}},
		NotBefore: catest.Start.Add(-ca.CABackdate), NotAfter: catest.Start.Add(ca.IntermediateLifetime),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: []byte("a key id of 20 bytes"),
	}
}

func (f *forge) sign(tmpl *x509.Certificate, pub crypto.PublicKey) []byte {
	return f.signUnder(tmpl, pub, f.root.Certificate, f.root.Key)
}

func (f *forge) signUnder(tmpl *x509.Certificate, pub crypto.PublicKey, parent *x509.Certificate, key crypto.Signer) []byte {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	require.NoError(f.t, err)
	return der
}

func request(t *testing.T) []byte {
	t.Helper()
	der, err := fips.CreateRequest(&x509.CertificateRequest{}, catest.GenerateKey(t, fips.ECDSAP256))
	require.NoError(t, err)
	return der
}

func want(t *testing.T) ca.IntermediateRequest {
	t.Helper()
	return ca.IntermediateRequest{
		TrustDomain: upstreamtest.Domain(t), NotBefore: catest.Start.Add(-ca.CABackdate), NotAfter: catest.Start.Add(ca.IntermediateLifetime),
	}
}

// requireUnavailable holds a refusal to its reason.
func requireUnavailable(t *testing.T, err error, detail string) {
	t.Helper()
	require.ErrorContains(t, err, detail)
	require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err), "%v", err)
}

func TestSoundAnswerIsTaken(t *testing.T) {
	f := &forge{t, upstreamtest.NewRoot(t, catest.Start)}
	client := upstreamtest.ServeFake(t, &liar{anchors: f.anchors, chain: func(_ context.Context, csr *x509.CertificateRequest) ([][]byte, error) {
		return [][]byte{f.sign(f.sound(), csr.PublicKey)}, nil
	}})
	chain, err := newRoot(t, client).SignIntermediate(t.Context(), request(t), want(t))
	require.NoError(t, err)
	require.Len(t, chain, 1)
}

// change makes a row that spoils the sound certificate.
func change(spoil func(c *x509.Certificate)) func(*forge, *x509.CertificateRequest) [][]byte {
	return func(f *forge, csr *x509.CertificateRequest) [][]byte {
		c := f.sound()
		spoil(c)
		return [][]byte{f.sign(c, csr.PublicKey)}
	}
}

func TestWrongChainIsRefused(t *testing.T) {
	rows := []struct {
		name  string
		chain func(f *forge, csr *x509.CertificateRequest) [][]byte
		want  string
	}{
		{"nothing", func(*forge, *x509.CertificateRequest) [][]byte { return nil }, "a chain of 0 certificates"},
		{"no certificate", func(*forge, *x509.CertificateRequest) [][]byte { return [][]byte{[]byte("<html>")} }, "certificate 0"},
		{"bytes after it", func(f *forge, csr *x509.CertificateRequest) [][]byte {
			return [][]byte{append(f.sign(f.sound(), csr.PublicKey), 0)}
		}, "trailing data"},
		{"another's key", func(f *forge, _ *x509.CertificateRequest) [][]byte {
			return [][]byte{f.sign(f.sound(), catest.GenerateKey(f.t, fips.ECDSAP256).Public())}
		}, "another key"},
		{"a foreign root", func(f *forge, csr *x509.CertificateRequest) [][]byte {
			other := upstreamtest.NewRoot(f.t, catest.Start)
			return [][]byte{f.signUnder(f.sound(), csr.PublicKey, other.Certificate, other.Key)}
		}, "not issued by the next"},
		{"a foreign root that has the anchor's name", func(f *forge, csr *x509.CertificateRequest) [][]byte {
			key := catest.GenerateKey(f.t, fips.ECDSAP256)
			twin := *f.root.Certificate
			twin.PublicKey = key.Public()
			return [][]byte{f.signUnder(f.sound(), csr.PublicKey, &twin, key)}
		}, "not issued by the next"},
		{"CA:FALSE", change(func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), "not a CA certificate"},
		{"no basic constraints", change(func(c *x509.Certificate) { c.BasicConstraintsValid = false }), "not a CA certificate"},
		{"room for one more CA", change(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false }), "path length is not 0"},
		{"no path length", change(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = -1, false }), "path length is not 0"},
		{"usage of a leaf", change(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDigitalSignature }), "key usage"},
		{"extended usages", change(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "extended key usage"},
		{"no URI", change(func(c *x509.Certificate) { c.URIs = nil }), "one URI"},
		{"another trust domain", change(func(c *x509.Certificate) { c.URIs[0].Host = "evil.example" }), "one URI"},
		{"a DNS name", change(func(c *x509.Certificate) { c.DNSNames = []string{"evil.example"} }), "names that nobody asked for"},
		{"critical name constraints", change(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example"}
		}), "name constraints"},
		{"an unknown critical extension", change(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}), "critical extension"},
		{"a counted serial number", change(func(c *x509.Certificate) { c.SerialNumber = big.NewInt(7) }), "serial number"},
		{"an end that is too late", change(func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(2 * time.Minute) }), "later than"},
		{"an end that is too early", change(func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(-time.Hour) }), "earlier than"},
		{"a beginning in the future", change(func(c *x509.Certificate) { c.NotBefore = catest.Start.Add(time.Minute) }), "in the future"},
		{"a beginning long ago", change(func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-time.Hour) }), "it begins at"},
		{"the anchor in the chain", func(f *forge, csr *x509.CertificateRequest) [][]byte {
			return [][]byte{f.sign(f.sound(), csr.PublicKey), f.root.Certificate.Raw}
		}, "the anchor is in the chain"},
		{"a chain in the wrong order", func(f *forge, csr *x509.CertificateRequest) [][]byte {
			return [][]byte{f.sign(f.sound(), catest.GenerateKey(f.t, fips.ECDSAP256).Public()), f.sign(f.sound(), csr.PublicKey)}
		}, "another key"},
		{"a leaf above it", func(f *forge, csr *x509.CertificateRequest) [][]byte {
			leaf := f.sound()
			leaf.IsCA, leaf.MaxPathLenZero = false, false
			key := catest.GenerateKey(f.t, fips.ECDSAP256)
			parent, err := x509.ParseCertificate(f.sign(leaf, key.Public()))
			require.NoError(f.t, err)
			return [][]byte{f.signUnder(f.sound(), csr.PublicKey, parent, key), parent.Raw}
		}, "not issued by the next"},
		{"a weak key above it", func(f *forge, csr *x509.CertificateRequest) [][]byte {
			above := f.sound()
			above.MaxPathLen, above.MaxPathLenZero = 1, false
			key := catest.GenerateKey(f.t, fips.RSA2048)
			parent, err := x509.ParseCertificate(f.sign(above, key.Public()))
			require.NoError(f.t, err)
			return [][]byte{f.signUnder(f.sound(), csr.PublicKey, parent, key), parent.Raw}
		}, "key_rsa_ca_size"},
		{"a chain without end", func(f *forge, csr *x509.CertificateRequest) [][]byte {
			return [][]byte{f.sign(f.sound(), csr.PublicKey), f.root.Certificate.Raw, f.root.Certificate.Raw, f.root.Certificate.Raw, f.root.Certificate.Raw}
		}, "a chain of 5 certificates"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			f := &forge{t, upstreamtest.NewRoot(t, catest.Start)}
			client := upstreamtest.ServeFake(t, &liar{anchors: f.anchors, chain: func(_ context.Context, csr *x509.CertificateRequest) ([][]byte, error) {
				return row.chain(f, csr), nil
			}})
			chain, err := newRoot(t, client).SignIntermediate(t.Context(), request(t), want(t))
			require.ErrorContains(t, err, row.want)
			require.Contains(t, []ca.Reason{ca.ReasonRootMismatch, ca.ReasonRootAnswer}, ca.ReasonOf(err))
			require.Empty(t, chain)
		})
	}
}

func TestWrongAnchorIsRefused(t *testing.T) {
	rows := []struct {
		name    string
		anchors func(f *forge) [][]byte
		want    string
	}{
		{"none", func(*forge) [][]byte { return nil }, "has no anchor"},
		{"no certificate", func(*forge) [][]byte { return [][]byte{[]byte("<html>")} }, "reading the upstream's anchor"},
		{"an intermediate", func(f *forge) [][]byte {
			return [][]byte{f.sign(f.sound(), catest.GenerateKey(f.t, fips.ECDSAP256).Public())}
		}, "not self-signed"},
		{"one that another key of its name signed", func(f *forge) [][]byte {
			c := f.sound()
			c.RawSubject = f.root.Certificate.RawSubject
			return [][]byte{f.sign(c, catest.GenerateKey(f.t, fips.ECDSAP256).Public())}
		}, "not self-signed"},
		{"a leaf", func(f *forge) [][]byte {
			c := f.sound()
			c.IsCA, c.MaxPathLenZero = false, false
			return [][]byte{f.signUnder(c, f.root.Key.Public(), c, f.root.Key)}
		}, "not a CA certificate"},
		{"a small key", func(f *forge) [][]byte {
			key := catest.GenerateKey(f.t, fips.RSA2048).(*rsa.PrivateKey)
			c := f.sound()
			return [][]byte{f.signUnder(c, key.Public(), c, key)}
		}, "key_rsa_ca_size"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			f := &forge{t, upstreamtest.NewRoot(t, catest.Start)}
			root := newRoot(t, upstreamtest.ServeFake(t, &liar{anchors: func() ([][]byte, error) { return row.anchors(f), nil }}))
			_, err := root.Anchor(t.Context())
			requireUnavailable(t, err, row.want)
			_, err = root.SignIntermediate(t.Context(), request(t), want(t))
			requireUnavailable(t, err, row.want)
		})
	}
}

func TestNoAnswerIsRootUnavailable(t *testing.T) {
	rows := []struct {
		name   string
		answer func(ctx context.Context) ([][]byte, error)
		want   string
	}{
		{"an answer above 1 MiB", func(context.Context) ([][]byte, error) {
			return [][]byte{bytes.Repeat([]byte{1}, apiupstream.MaxAnswer)}, nil
		}, "ResourceExhausted"},
		{"a service that is down", func(context.Context) ([][]byte, error) {
			return nil, status.Error(codes.Unavailable, "HSM\n\x1bis gone")
		}, "HSM  is gone"},
		{"a service that refuses", func(context.Context) ([][]byte, error) { return nil, status.Error(codes.PermissionDenied, "no") }, "PermissionDenied: no"},
		{"one that never answers", func(ctx context.Context) ([][]byte, error) { <-ctx.Done(); return nil, ctx.Err() }, "deadline exceeded"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			f := &forge{t, upstreamtest.NewRoot(t, catest.Start)}
			client := upstreamtest.ServeFake(t, &liar{anchors: f.anchors, chain: func(ctx context.Context, _ *x509.CertificateRequest) ([][]byte, error) { return row.answer(ctx) }})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := newRoot(t, client).SignIntermediate(ctx, request(t), want(t))
			requireUnavailable(t, err, row.want)
		})
	}
}

func TestServerThatIsGoneAndComesBack(t *testing.T) {
	held := upstreamtest.NewRoot(t, catest.Start)
	start := func(listener net.Listener) *grpc.Server {
		server, err := apiupstream.NewServer(apiupstream.Config{
			TrustDomain: upstreamtest.Domain(t), Root: held, Policy: upstreamtest.Policy(t), Users: []uint32{upstreamtest.Me()},
			Now: catest.NewClock().Now, Done: func(apiupstream.Call) {},
		})
		require.NoError(t, err)
		upstreamtest.ServeOn(t, server, listener)
		return server
	}
	path := upstreamtest.Socket(t)
	root := newRoot(t, upstreamtest.Client(t, path))
	_, err := root.Anchor(t.Context())
	requireUnavailable(t, err, "Unavailable")

	first, err := peercred.Listen(path)
	require.NoError(t, err)
	server := start(first)
	require.Eventually(t, func() bool { _, err := root.Anchor(t.Context()); return err == nil }, 10*time.Second, 20*time.Millisecond)
	server.Stop()
	_, err = root.SignIntermediate(t.Context(), request(t), want(t))
	requireUnavailable(t, err, "Unavailable")

	second, err := peercred.Listen(path)
	require.NoError(t, err)
	start(second)
	require.Eventually(t, func() bool { _, err := root.Anchor(t.Context()); return err == nil }, 10*time.Second, 20*time.Millisecond)
}

// TestServerOfAnotherUserIsRefused: whoever can write to the directory can put a
// socket there.
func TestServerOfAnotherUserIsRefused(t *testing.T) {
	f := &forge{t, upstreamtest.NewRoot(t, catest.Start)}
	server := grpc.NewServer(grpc.Creds(peercred.Credentials(peercred.Config{AllowClient: func(uint32) bool { return true }})))
	asked := false
	upstreamv1.RegisterUpstreamServer(server, &liar{anchors: func() ([][]byte, error) { asked = true; return f.anchors() }})
	path := upstreamtest.Listen(t, server)
	conn, err := apiupstream.Dial(apiupstream.DialConfig{Socket: path, Servers: []uint32{upstreamtest.Me() + 1}})
	require.NoError(t, err)
	defer conn.Close()
	_, err = newRoot(t, upstreamv1.NewUpstreamClient(conn)).Anchor(t.Context())
	requireUnavailable(t, err, "at the other end of the socket is not allowed")
	require.False(t, asked)
}
