package client

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/fips"
)

// Config says where the server is and how the caller proves itself. Bundle is where a
// client begins; each answer and each watch brings the one that follows.
type Config struct {
	Server     string        // host:port
	ServerName string        // in the server's certificate; "" takes it from Server
	Bundle     []byte        // PEM trust anchors of the server
	TokenFile  string        // read at each Issue; "" sends none
	Token      string        // sent when TokenFile is ""; "" sends none
	KeyType    fips.KeyType  // of the keys made here; "" is ecdsa-p256
	TTL        time.Duration // wanted lifetime; 0 leaves it to the server
	Profile    string        // wanted profile; "" leaves it to the server
}

// Client asks one server. It is safe for concurrent use.
type Client struct {
	c          Config
	serverName string

	mu    sync.Mutex
	roots trusted
}

// trusted are the anchors of a bundle, and its sequence; 0 is that of the beginning.
type trusted struct {
	sequence uint64
	pool     *x509.CertPool
}

// Certificate is a certificate with the key that was made for it.
type Certificate struct {
	Key      crypto.Signer
	Chain    []*x509.Certificate // the leaf first, without anchors
	Bundle   []*x509.Certificate // trust anchors in canonical order
	Sequence uint64              // of Bundle
	Identity string
	Serial   string
	RenewAt  time.Time
}

// New checks c.
func New(c Config) (*Client, error) {
	if c.KeyType == "" {
		c.KeyType = fips.ECDSAP256
	}
	if _, err := fips.ParseKeyType(string(c.KeyType)); err != nil && c.KeyType != fips.RSA2048 {
		return nil, fmt.Errorf("client: %w", err)
	}
	host, _, err := net.SplitHostPort(c.Server)
	if err != nil {
		return nil, fmt.Errorf("server address: %w", err)
	}
	if c.ServerName != "" {
		host = c.ServerName
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.Bundle) {
		return nil, fmt.Errorf("the bundle holds no PEM certificate")
	}
	return &Client{c: c, serverName: host, roots: trusted{pool: roots}}, nil
}

// trust makes bundle, which a server that was verified has sent, that of the calls
// that follow: anchors come and go while a client runs. One of a lower sequence, from
// a replica that lags behind, changes nothing.
func (c *Client) trust(sequence uint64, bundle []*x509.Certificate) {
	pool := x509.NewCertPool()
	for _, anchor := range bundle {
		pool.AddCert(anchor)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if sequence >= c.roots.sequence {
		c.roots = trusted{sequence, pool}
	}
}

// pool is what servers are verified against.
func (c *Client) pool() *x509.CertPool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roots.pool
}

// Issue gets a certificate by the token.
func (c *Client) Issue(ctx context.Context) (*Certificate, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return c.get(ctx, nil, kedgev1.CertificateAuthorityClient.Issue)
}

// Renew gets a new certificate by mutual TLS with current.
func (c *Client) Renew(ctx context.Context, current tls.Certificate) (*Certificate, error) {
	return c.get(ctx, &current, kedgev1.CertificateAuthorityClient.Renew)
}

type issueCall func(kedgev1.CertificateAuthorityClient, context.Context, *kedgev1.IssueRequest, ...grpc.CallOption) (*kedgev1.IssueResponse, error)

// get makes a key, asks for its certificate and checks the answer.
func (c *Client) get(ctx context.Context, current *tls.Certificate, call issueCall) (*Certificate, error) {
	key, err := fips.GenerateKey(c.c.KeyType)
	if err != nil {
		return nil, fmt.Errorf("making the key: %w", err)
	}
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	conn, err := c.dial(current)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request := &kedgev1.IssueRequest{Csr: csr, Profile: c.c.Profile}
	if c.c.TTL != 0 {
		request.Ttl = durationpb.New(c.c.TTL)
	}
	response, err := call(kedgev1.NewCertificateAuthorityClient(conn), ctx, request)
	if err != nil {
		return nil, err
	}
	fresh, err := check(response, key)
	if err != nil {
		return nil, err
	}
	c.trust(fresh.Sequence, fresh.Bundle)
	return fresh, nil
}

// Dial connects for calls of another service on the same port. The caller proves
// itself by current, and closes the connection.
func (c *Client) Dial(current tls.Certificate) (*grpc.ClientConn, error) { return c.dial(&current) }

func (c *Client) dial(current *tls.Certificate) (*grpc.ClientConn, error) {
	t := fips.ClientTLSConfig{Roots: c.pool(), ServerName: c.serverName, NextProtos: []string{"h2"}}
	if current != nil {
		t.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return current, nil }
	}
	config, err := fips.ClientTLS(t)
	if err != nil {
		return nil, fmt.Errorf("client TLS: %w", err)
	}
	conn, err := grpc.NewClient("passthrough:///"+c.c.Server,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithNoProxy()) // a library reads no environment
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", c.c.Server, err)
	}
	return conn, nil
}

func (c *Client) token() (string, error) {
	if c.c.TokenFile == "" {
		return c.c.Token, nil
	}
	raw, err := os.ReadFile(c.c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// check holds the answer to what was asked: our key, one identity, and a chain
// that verifies against the bundle that comes with it.
func check(r *kedgev1.IssueResponse, key crypto.Signer) (*Certificate, error) {
	c := &Certificate{Key: key}
	if err := c.parse(r); err != nil {
		return nil, err
	}
	leaf := c.Chain[0]
	if !fips.PublicKeyEqual(leaf.PublicKey, key.Public()) {
		return nil, fmt.Errorf("the server's certificate is for another key")
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != r.GetIdentity() {
		return nil, fmt.Errorf("the server's certificate does not name %q", r.GetIdentity())
	}
	between, roots := x509.NewCertPool(), x509.NewCertPool()
	for _, cert := range c.Chain[1:] {
		between.AddCert(cert)
	}
	for _, anchor := range c.Bundle {
		roots.AddCert(anchor)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("the server's certificate does not verify against its own bundle: %w", err)
	}
	c.Identity, c.Serial, c.RenewAt = r.GetIdentity(), hex.EncodeToString(leaf.SerialNumber.Bytes()), renewAt(r.GetRenewAt(), leaf)
	return c, nil
}

// parse reads the certificates of the answer.
func (c *Certificate) parse(r *kedgev1.IssueResponse) error {
	for _, der := range append([][]byte{r.GetCertificate()}, r.GetChain()...) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("reading the server's answer: %w", err)
		}
		c.Chain = append(c.Chain, cert)
	}
	var err error
	c.Bundle, err = parseAnchors(r.GetBundle())
	c.Sequence = r.GetBundle().GetSequence()
	return err
}

// renewAt is the time that the server suggests if it lies in the leaf's life,
// else the middle of that: a keeper must neither spin nor sleep too long.
func renewAt(suggested *timestamppb.Timestamp, leaf *x509.Certificate) time.Time {
	at := suggested.AsTime()
	if suggested == nil || !at.After(leaf.NotBefore) || !at.Before(leaf.NotAfter) {
		return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	}
	return at
}

// TLS is the certificate for a TLS handshake.
func (c *Certificate) TLS() tls.Certificate {
	t := tls.Certificate{PrivateKey: c.Key, Leaf: c.Chain[0]}
	for _, cert := range c.Chain {
		t.Certificate = append(t.Certificate, cert.Raw)
	}
	return t
}

// ChainPEM is the leaf and its intermediates.
func (c *Certificate) ChainPEM() []byte { return encode(c.Chain) }

// BundlePEM is the trust anchors.
func (c *Certificate) BundlePEM() []byte { return EncodeBundle(c.Bundle) }

// EncodeBundle is trust anchors in PEM, in the order given.
func EncodeBundle(bundle []*x509.Certificate) []byte { return encode(bundle) }

// KeyPEM is the private key as PKCS#8, not encrypted.
func (c *Certificate) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func encode(certs []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes()
}
