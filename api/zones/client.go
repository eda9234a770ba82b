package zones

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// ClientConfig is what a Client works with. All fields but ServerName are needed.
type ClientConfig struct {
	Address    string      // host:port of the primary's zones listener
	ServerName string      // in its certificate; "" takes the host of Address
	Primary    ca.Identity // in its certificate
	// Held is the bundle that the replica holds now. It is asked at each handshake.
	Held   func(ctx context.Context) (*ca.Bundle, error)
	Key    crypto.Signer // of OpenKey
	Policy fips.Policy
	Now    func() time.Time
}

// Client asks a primary. It connects at the first call, again whenever the connection
// was lost, and verifies the primary by the bundle that is held then. It is safe for
// concurrent use.
type Client struct {
	c           ClientConfig
	serverName  string
	certificate *tls.Certificate
	creds       *replicaCredentials
	conn        *grpc.ClientConn
	rpc         kedgev1.ZonesClient

	following sync.Mutex // one Follow at a time; guards stream and pace
	stream    *stream
	pace      pace
}

// NewClient checks c. It does not connect.
func NewClient(c ClientConfig) (*Client, error) {
	if c.Held == nil || c.Key == nil || c.Now == nil || c.Primary.IsZero() {
		return nil, fmt.Errorf("client of a primary needs a bundle, a key, a clock and the primary's identity")
	}
	client := &Client{c: c, serverName: c.ServerName}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("primary's address: %w", err)
	}
	if client.serverName == "" {
		client.serverName = host
	}
	if client.certificate, err = certificateOf(c.Key, c.Policy, c.Now()); err != nil {
		return nil, err
	}
	client.creds = &replicaCredentials{client: client, last: &outcome{}}
	if client.conn, err = dial(c.Address, client.creds); err != nil {
		return nil, err
	}
	client.rpc = kedgev1.NewZonesClient(client.conn)
	return client, nil
}

// Close ends the connection and the stream.
func (c *Client) Close() error {
	c.following.Lock()
	defer c.following.Unlock()
	if c.stream != nil {
		c.stream.cancel()
		c.stream = nil
	}
	return c.conn.Close()
}

// Bounds of what a client takes in and how long it waits.
const (
	maxAnswer   = 4 << 20
	callTimeout = 10 * time.Second
	signTimeout = 30 * time.Second // the root may be an HSM or a cloud's
	maxBackoff  = 5 * time.Second
)

func dial(address string, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithMaxHeaderListSize(16<<10),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		// A halt has to arrive within ten seconds, so a connection that is dead must not
		// be believed for much longer.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 12 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: 5 * time.Second,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("primary %s: %w", address, err)
	}
	return conn, nil
}

// present is the replica's certificate for one handshake.
func (c *Client) present(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.certificate, nil
}

// config is the TLS configuration for one handshake with the primary.
func (c *Client) config(ctx context.Context) (*tls.Config, error) {
	held, err := c.c.Held(ctx)
	if err != nil {
		return nil, fmt.Errorf("the bundle to verify the primary by: %w", err)
	}
	return fips.ClientTLS(fips.ClientTLSConfig{
		Roots: held.Pool(), ServerName: c.serverName, NextProtos: []string{"h2"},
		Certificate: c.present, VerifyServer: c.verifyPrimary,
	})
}

// verifyPrimary refuses a server that is somebody else of the trust domain: a workload
// may have the primary's host name in its certificate.
func (c *Client) verifyPrimary(leaf *x509.Certificate) error {
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != c.c.Primary.String() {
		return &untrustedError{fmt.Errorf("the server is %v, not %s", leaf.URIs, c.c.Primary)}
	}
	return nil
}
