package fips

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// probeName is the server that the throwaway certificates are for.
const probeName = "probe.invalid"

// tlsProbe holds what the behavioural probe shares: a good certificate made for
// the occasion. There is no public call that says whether the TLS filter is on;
// the only proof is that a handshake it must refuse is refused, while the same
// one with approved parameters succeeds.
type tlsProbe struct {
	good tls.Certificate
	pool *x509.CertPool
	// at is the time for certificate verification.
	at time.Time
}

// tlsTests returns the handshakes to try. Without a module there is no filter,
// so only the approved handshake remains and the report says so.
func (m *Module) tlsTests() []selfTest {
	var p *tlsProbe
	var setup error
	with := func(f func(*tlsProbe) error) func() error {
		return func() error {
			if p == nil && setup == nil {
				p, setup = newTLSProbe()
			}
			if setup != nil {
				return setup
			}
			return f(p)
		}
	}
	tests := []selfTest{{name: "tls_builders_accept_p256", run: with((*tlsProbe).builders)}}
	if m.entry == nil && m.facts.active == None {
		return tests
	}
	for _, h := range probeHellos() {
		tests = append(tests, selfTest{name: h.name, run: with(func(p *tlsProbe) error { return p.hello(h) })})
	}
	tests = append(tests,
		selfTest{name: "tls_control_p256_certificate", run: with(func(p *tlsProbe) error { return p.rawHandshake(p.good) })},
		selfTest{name: "tls_refuses_rsa1024", run: with(func(p *tlsProbe) error {
			return p.weakCertificate(vectorRSA1024Cert, vectorRSA1024Key)
		})})
	if m.facts.compiled == BoringCrypto {
		// The native module has Ed25519 and its filter lets it pass.
		tests = append(tests, selfTest{name: "tls_refuses_ed25519", run: with(func(p *tlsProbe) error {
			return p.weakCertificate(vectorEd25519Cert, vectorEd25519Key)
		})})
	}
	return tests
}

func newTLSProbe() (*tlsProbe, error) {
	key, err := GenerateKey(ECDSAP256)
	if err != nil {
		return nil, err
	}
	// A fixed time, long before any key of Kedge's: the probe must not depend on
	// the clock it may have to be run to repair.
	at := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	cert, err := selfSigned(key, at)
	if err != nil {
		return nil, err
	}
	p := &tlsProbe{good: cert, pool: x509.NewCertPool(), at: at}
	p.pool.AddCert(cert.Leaf)
	return p, nil
}

// selfSigned makes a certificate that nothing outside this process trusts.
func selfSigned(key crypto.Signer, at time.Time) (tls.Certificate, error) {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: probeName},
		DNSNames:     []string{probeName},
		NotBefore:    at.Add(-time.Hour),
		NotAfter:     at.Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making probe certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("parsing probe certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// builders runs the handshake of two real configurations of this package, with
// certificates both ways.
func (p *tlsProbe) builders() error {
	server, err := ServerTLS(ServerTLSConfig{
		Certificate: func() (*tls.Certificate, error) { return &p.good, nil },
		ClientCAs:   func() *x509.CertPool { return p.pool },
		ClientAuth:  Require,
	})
	if err != nil {
		return err
	}
	client, err := ClientTLS(ClientTLSConfig{
		Roots: p.pool, ServerName: probeName,
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.good, nil },
	})
	if err != nil {
		return err
	}
	client.Time = func() time.Time { return p.at }
	// The server's snapshot is cloned from a template that has no clock.
	snapshot, err := server.GetConfigForClient(nil)
	if err != nil {
		return err
	}
	snapshot = snapshot.Clone()
	snapshot.Time = client.Time
	state, err := handshake(snapshot, client)
	if err != nil {
		return err
	}
	if state.Version != tls.VersionTLS13 || state.CurveID != tls.CurveP256 {
		return fmt.Errorf("negotiated version %x, group %v; want TLS 1.3 with P-256", state.Version, state.CurveID)
	}
	return nil
}

// rawHandshake uses configurations without any choice of this package, so that
// only the module's filter can refuse.
func (p *tlsProbe) rawHandshake(cert tls.Certificate) error {
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	now := func() time.Time { return p.at }
	server := &tls.Config{Certificates: []tls.Certificate{cert}, Time: now, CurvePreferences: groups(false)}
	client := &tls.Config{RootCAs: pool, ServerName: cert.Leaf.DNSNames[0], Time: now, CurvePreferences: groups(false)}
	_, err := handshake(server, client)
	return err
}

// weakCertificate expects the handshake with a weak certificate to fail.
func (p *tlsProbe) weakCertificate(certB64, keyB64 string) error {
	der, err1 := base64.StdEncoding.DecodeString(certB64)
	keyDER, err2 := base64.StdEncoding.DecodeString(keyB64)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("decoding vector: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("parsing vector: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return fmt.Errorf("parsing vector: %w", err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	if p.rawHandshake(cert) == nil {
		return fmt.Errorf("a handshake with a %v certificate succeeded: the TLS filter is not active", leaf.PublicKeyAlgorithm)
	}
	return nil
}

// handshake connects the two configurations in memory and returns the client's
// view. Each side closes its end when done, so neither can wait for ever.
func handshake(server, client *tls.Config) (tls.ConnectionState, error) {
	sc, cc := memConnPair()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(sc, server)
		err := s.Handshake()
		if err == nil {
			// The client's certificate may be refused only after the client
			// believes in the connection (RFC 8446 §4.4.4): one byte confirms.
			_, err = s.Write([]byte{1})
		}
		_ = sc.Close()
		done <- err
	}()
	c := tls.Client(cc, client)
	err := c.Handshake()
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	state := c.ConnectionState()
	_ = cc.Close()
	serverErr := <-done
	return state, errors.Join(err, serverErr)
}
