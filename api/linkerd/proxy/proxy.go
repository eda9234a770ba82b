package proxy

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"time"

	identityapi "github.com/linkerd/linkerd2-proxy-api/go/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kedge-ca/kedge/fips"
)

// Identity is the key and the CSR of a pod, made once and used for as long as it
// lives (linkerd2 proxy-identity/main.go).
type Identity struct {
	Name string
	Key  crypto.Signer
	CSR  []byte // DER: the name as common name and as the one DNS name
}

// NewIdentity makes a P-256 key and the CSR for name.
func NewIdentity(name string) (Identity, error) {
	key, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		return Identity{}, fmt.Errorf("making the key of %s: %w", name, err)
	}
	csr, err := fips.CreateRequest(&x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, key)
	if err != nil {
		return Identity{}, fmt.Errorf("making the CSR of %s: %w", name, err)
	}
	return Identity{Name: name, Key: key, CSR: csr}, nil
}

// Issuer is where a proxy asks, LINKERD2_PROXY_IDENTITY_SVC_ADDR and _SVC_NAME.
type Issuer struct {
	Address   string
	Name      string         // verified in its certificate
	Anchors   *x509.CertPool // LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS
	Plaintext bool           // HTTP/2 without TLS; the proxy does that for a loopback address
	Protocols []string       // offered by ALPN; the proxy offers none
}

// Certified is an answer that was accepted.
type Certified struct {
	Leaf       *x509.Certificate
	Chain      []*x509.Certificate // as the server sent it
	ValidUntil time.Time
	RefreshIn  time.Duration // when the proxy would ask again
}

// Certify asks once, over a connection of its own as the proxy does, and accepts the
// answer at now by Rules. A refusal is the status that the server gave.
func (i Issuer) Certify(ctx context.Context, own Identity, token []byte, now time.Time) (Certified, error) {
	conn, err := i.dial()
	if err != nil {
		return Certified{}, err
	}
	answer, err := identityapi.NewIdentityClient(conn).Certify(ctx, &identityapi.CertifyRequest{
		Identity: own.Name, Token: token, CertificateSigningRequest: own.CSR,
	})
	if closeErr := conn.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("closing the connection: %w", closeErr)
	}
	if err != nil {
		return Certified{}, err
	}
	return i.Accept(own, answer, now)
}

// dial makes a client whose connections are secured below gRPC, as the proxy's are:
// :scheme is http, and nothing asks for ALPN.
func (i Issuer) dial() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+i.Address, grpc.WithNoProxy(), grpc.WithAuthority(i.Name),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return i.Connect(ctx) }))
	if err != nil {
		return nil, fmt.Errorf("making the client: %w", err)
	}
	return conn, nil
}

// Connect opens a connection and accepts the server as the proxy does.
func (i Issuer) Connect(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", i.Address)
	if err != nil || i.Plaintext {
		return raw, err
	}
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: i.Anchors, ServerName: i.Name, NextProtos: i.Protocols})
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	secured := tls.Client(raw, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS handshake: %w", err), raw.Close())
	}
	if err := acceptServer(secured.ConnectionState()); err != nil {
		return nil, errors.Join(err, secured.Close())
	}
	return secured, nil
}
