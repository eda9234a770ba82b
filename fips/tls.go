package fips

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ClientAuth says what a server asks of its clients.
type ClientAuth uint8

// The ways to treat a client's certificate.
const (
	// NoClientCert asks for none.
	NoClientCert ClientAuth = iota
	// VerifyIfGiven asks for one and verifies it when it comes.
	VerifyIfGiven
	// Require ends the handshake without a valid one.
	Require
	// RequireKey ends the handshake without a certificate that is signed by its own
	// key, which the client has proved to have. Whose key it is, the caller judges.
	RequireKey
)

// ServerTLSConfig is what a listener may choose; the rest is fixed.
type ServerTLSConfig struct {
	// Certificate returns the serving certificate for one handshake. It is
	// called concurrently and must be fast: return a stored pointer.
	Certificate func() (*tls.Certificate, error)
	// ClientCAs returns the anchors for client certificates. A new pointer is a
	// new snapshot; a pool must not change once returned. It is nil exactly when
	// ClientAuth is NoClientCert or RequireKey.
	ClientCAs  func() *x509.CertPool
	ClientAuth ClientAuth
	// MinVersion is tls.VersionTLS12 (also the meaning of 0) or tls.VersionTLS13.
	MinVersion uint16
	// NextProtos are the ALPN names, best first; none for a peer that sends none.
	NextProtos []string
	// Hybrid offers ML-KEM hybrid groups before P-256. Only the native module
	// has them.
	Hybrid bool
	// Now is the clock that client certificates are verified by; nil is the
	// system's.
	Now func() time.Time
}

// ClientTLSConfig is what a client may choose; the rest is fixed.
type ClientTLSConfig struct {
	// Roots are the anchors for the server's certificate; the system's are never
	// used. The configuration is a snapshot: a client whose anchors rotate
	// builds a new one for each connection.
	Roots *x509.CertPool
	// ServerName is verified in the server's certificate. It may be empty only
	// where the dialer fills it in from the address.
	ServerName string
	// Certificate returns the client's certificate for one handshake; nil when
	// the client has none.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	NextProtos  []string
	// VerifyServer is asked about the server's certificate once its chain and its name
	// have been verified; nil asks nothing more.
	VerifyServer func(leaf *x509.Certificate) error
}

// ServerTLS builds the configuration of a listener: TLS 1.2 with the four
// ECDHE-GCM suites or TLS 1.3 (SP 800-52 r2 §3.3), groups P-256 and P-384, no
// session tickets (a resumed session would outlive a distrusted anchor), no
// renegotiation. Every handshake uses one consistent snapshot of ClientCAs.
func ServerTLS(c ServerTLSConfig) (*tls.Config, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("building server TLS configuration: %w", err)
	}
	certificate := c.Certificate
	base := baseTLS(c.MinVersion, c.NextProtos, c.Hybrid)
	base.Time = c.Now
	base.SessionTicketsDisabled = true
	base.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() }
	if c.ClientAuth == NoClientCert {
		return base, nil
	}
	if c.ClientAuth == RequireKey {
		base.ClientAuth, base.VerifyConnection = tls.RequireAnyClientCert, requireOwnKey
		return base, nil
	}
	base.ClientAuth = tls.VerifyClientCertIfGiven
	if c.ClientAuth == Require {
		base.ClientAuth = tls.RequireAndVerifyClientCert
	}
	snapshots := &poolSnapshots{base: base.Clone(), pool: c.ClientCAs}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return snapshots.current() }
	// Used by nobody as long as GetConfigForClient answers; an empty pool, so
	// that the system's anchors can never stand in.
	base.ClientCAs = x509.NewCertPool()
	return base, nil
}

func (c *ServerTLSConfig) check() error {
	switch {
	case c.Certificate == nil:
		return errors.New("no certificate")
	case c.ClientAuth > RequireKey:
		return errors.New("unknown client authentication")
	case (c.ClientAuth == NoClientCert || c.ClientAuth == RequireKey) != (c.ClientCAs == nil):
		return errors.New("client anchors and client authentication must be set together")
	case c.MinVersion != 0 && c.MinVersion != tls.VersionTLS12 && c.MinVersion != tls.VersionTLS13:
		return errors.New("minimum version is neither TLS 1.2 nor TLS 1.3")
	case c.Hybrid && compiledBackend != Native:
		return errors.New("hybrid groups need the native module")
	}
	return nil
}

// ClientTLS builds the configuration of a client, with the same versions,
// suites and groups as ServerTLS.
func ClientTLS(c ClientTLSConfig) (*tls.Config, error) {
	// A nil pool would mean the system's anchors to crypto/tls.
	if c.Roots == nil {
		return nil, errors.New("building client TLS configuration: no anchors")
	}
	t := baseTLS(0, c.NextProtos, false)
	t.RootCAs = c.Roots
	t.ServerName = c.ServerName
	t.GetClientCertificate = c.Certificate
	if verify := c.VerifyServer; verify != nil {
		t.VerifyConnection = func(s tls.ConnectionState) error { return verify(s.PeerCertificates[0]) }
	}
	return t, nil
}

// baseTLS is the only tls.Config literal of Kedge.
func baseTLS(minVersion uint16, protos []string, hybrid bool) *tls.Config {
	if minVersion == 0 {
		minVersion = tls.VersionTLS12
	}
	return &tls.Config{
		MinVersion:       minVersion,
		MaxVersion:       tls.VersionTLS13,
		CipherSuites:     tls12Suites(),
		CurvePreferences: groups(hybrid),
		NextProtos:       protos,
		Renegotiation:    tls.RenegotiateNever,
	}
}

// tls12Suites are the suites of SP 800-52 r2 §3.3.1.1 with ephemeral keys and
// GCM. Those of TLS 1.3 cannot be chosen; the module's TLS filter leaves the
// two AES-GCM ones.
func tls12Suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	}
}

func groups(hybrid bool) []tls.CurveID {
	if hybrid {
		return []tls.CurveID{tls.SecP256r1MLKEM768, tls.X25519MLKEM768, tls.CurveP256, tls.CurveP384}
	}
	return []tls.CurveID{tls.CurveP256, tls.CurveP384}
}

// poolSnapshots makes one tls.Config per set of anchors, not per handshake.
type poolSnapshots struct {
	base *tls.Config
	pool func() *x509.CertPool
	last atomic.Pointer[tls.Config]
}

func (s *poolSnapshots) current() (*tls.Config, error) {
	pool := s.pool()
	if pool == nil {
		return nil, errors.New("no anchors for client certificates")
	}
	if c := s.last.Load(); c != nil && c.ClientCAs == pool {
		return c, nil
	}
	c := s.base.Clone()
	c.ClientCAs = pool
	// Two handshakes may build the same snapshot; either is right.
	s.last.Store(c)
	return c, nil
}
