package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// bareChild is the floor below every CA in Go: parse, check and create with the
// standard library and nothing else, for seconds of one core.
func bareChild(seconds int) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	csrs, err := makeCSRs(2000, nil)
	if err != nil {
		return err
	}
	id, err := url.Parse("spiffe://bench.local/ns/bench/sa/w0")
	if err != nil {
		return err
	}
	return measureSelf("bare", seconds, func(n int) error {
		return bareIssue(csrs[n%len(csrs)], id, w.intermediate.Certificate(), w.intermediate.Signer())
	})
}

func bareIssue(der []byte, id *url.URL, parent *x509.Certificate, key crypto.Signer) error {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	if err := csr.CheckSignature(); err != nil {
		return err
	}
	serial := make([]byte, 20)
	if _, err := rand.Read(serial); err != nil {
		return err
	}
	serial[0] &= 0x7f
	now := time.Now()
	_, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), NotBefore: now, NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, URIs: []*url.URL{id},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, parent, csr.PublicKey, key)
	return err
}

// echoMethod answers with as many bytes as a certificate and its chain have.
const echoMethod = "/bench.Echo/Echo"

// answerSize is about a leaf, an intermediate and two anchors in DER.
const answerSize = 2000

type echoServer interface{ echo() }

type echo struct{ answer *wrapperspb.BytesValue }

func (echo) echo() {}

// echoChild is the floor of any gRPC service: the same TLS, the same sizes, no work.
func echoChild() error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	cert, err := w.serverCertificate()
	if err != nil {
		return err
	}
	config, err := fips.ServerTLS(fips.ServerTLSConfig{
		Certificate: func() (*tls.Certificate, error) { return cert, nil }, NextProtos: []string{"h2"},
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo", HandlerType: (*echoServer)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: handleEcho}},
	}, echo{answer: wrapperspb.Bytes(make([]byte, answerSize))})
	fmt.Printf("ready %s %s\n", listener.Addr(), w.bundleFile)
	return server.Serve(listener)
}

func handleEcho(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in wrapperspb.BytesValue
	if err := decode(&in); err != nil {
		return nil, err
	}
	return srv.(echo).answer, nil
}

// world is a small authority for the floors.
type world struct {
	domain       ca.TrustDomain
	policy       fips.Policy
	root         *x509.Certificate
	bundle       *ca.Bundle
	intermediate *ca.Intermediate
	bundleFile   string
}

func newWorld() (*world, error) {
	w := &world{}
	var err error
	if w.policy, err = fips.PolicyByName("fips"); err != nil {
		return nil, err
	}
	if w.domain, err = ca.ParseTrustDomain("bench.local"); err != nil {
		return nil, err
	}
	rootKey, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	w.root, err = ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: w.domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.RootLifetime), Signer: rootKey, Policy: w.policy,
	})
	if err != nil {
		return nil, err
	}
	if w.bundle, err = ca.NewBundle(w.domain, 1, []ca.Anchor{{Certificate: w.root, Slot: ca.SlotActive}}); err != nil {
		return nil, err
	}
	key, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		return nil, err
	}
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{
		Anchor: w.root, AnchorSigner: rootKey, CSR: csr, Policy: w.policy,
		Request: ca.IntermediateRequest{TrustDomain: w.domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.IntermediateLifetime)},
	})
	if err != nil {
		return nil, err
	}
	w.intermediate, err = ca.NewIntermediate(ca.IntermediateConfig{
		Chain: []*x509.Certificate{cert}, Bundle: w.bundle, Signer: key, Policy: w.policy,
	})
	return w, err
}

// serverCertificate is a certificate for 127.0.0.1 under the world's intermediate,
// and writes the bundle for clients.
func (w *world) serverCertificate() (*tls.Certificate, error) {
	profile, err := ca.NewProfile(ca.ProfileConfig{Name: "server", ServerOnly: true, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	if err != nil {
		return nil, err
	}
	authority, err := w.authority(profile, discard{})
	if err != nil {
		return nil, err
	}
	key, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		return nil, err
	}
	issued, err := w.issue(authority, key, "server")
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "bench-bundle-*.pem")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	w.bundleFile = file.Name()
	if _, err := file.Write(w.bundle.PEM()); err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: append([][]byte{issued.Leaf}, issued.Chain...), PrivateKey: key}, nil
}

func (w *world) authority(profile *ca.Profile, recorder ca.Recorder) (*ca.Authority, error) {
	policy, err := ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: w.domain, Profiles: []*ca.Profile{profile}, Rules: []ca.RuleConfig{{Name: "all", Profile: profile.Name()}},
	})
	if err != nil {
		return nil, err
	}
	authority, err := ca.NewAuthority(ca.AuthorityConfig{FIPS: w.policy, Policy: policy, Recorder: recorder, Now: time.Now})
	if err != nil {
		return nil, err
	}
	_, err = authority.Swap(w.intermediate, w.bundle)
	return authority, err
}

func (w *world) issue(authority *ca.Authority, key crypto.Signer, name string) (ca.Issued, error) {
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return ca.Issued{}, err
	}
	request, err := ca.ParseRequest(csr, ca.RequestOptions{Now: time.Now()}, w.policy)
	if err != nil {
		return ca.Issued{}, err
	}
	caller, err := w.caller(name)
	if err != nil {
		return ca.Issued{}, err
	}
	return authority.Issue(context.Background(), caller, request)
}

func (w *world) caller(name string) (ca.Caller, error) {
	id, err := w.domain.ServiceAccount("bench", name)
	if err != nil {
		return ca.Caller{}, err
	}
	return ca.NewCaller(id, ca.Evidence{Method: ca.MethodKubernetes, Cluster: "bench"})
}

// discard records nothing.
type discard struct{}

func (discard) Intend(context.Context, ca.Record) error    { return nil }
func (discard) Void(context.Context, string, string) error { return nil }
