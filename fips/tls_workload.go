package fips

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// WorkloadTLSConfig is what a client of workloads may choose: its servers have a
// SPIFFE ID and no host name, and its anchors rotate while it runs.
type WorkloadTLSConfig struct {
	// Roots returns the anchors, once for each handshake; nil refuses it.
	Roots func() *x509.CertPool
	// Certificate returns the client's certificate for one handshake.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Accept judges the server by its leaf, whose chain has been verified: without a
	// host name to verify, this alone says who may answer.
	Accept     func(leaf *x509.Certificate) error
	NextProtos []string
	// Now is the clock that chains are verified by; nil is the system's.
	Now func() time.Time
}

// WorkloadClientTLS builds the configuration of a client of workloads, with the same
// versions, suites and groups as ClientTLS. The server's chain is verified to Roots for
// server authentication (X509-SVID §5.2) and its leaf by Accept, before the client
// sends anything but its certificate.
func WorkloadClientTLS(c WorkloadTLSConfig) (*tls.Config, error) {
	if c.Roots == nil || c.Certificate == nil || c.Accept == nil {
		return nil, errors.New("building workload TLS configuration: it needs anchors, a certificate and who to accept")
	}
	t := baseTLS(0, c.NextProtos, false)
	t.GetClientCertificate = c.Certificate
	t.Time = c.Now
	// crypto/tls would look for a host name; VerifyConnection does the rest of its work.
	t.InsecureSkipVerify = true
	t.VerifyConnection = c.verify
	return t, nil
}

func (c *WorkloadTLSConfig) verify(s tls.ConnectionState) error {
	roots := c.Roots()
	if roots == nil { // to crypto/x509 it would mean the system's
		return errors.New("there are no anchors to verify the server by")
	}
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if c.Now != nil {
		o.CurrentTime = c.Now()
	}
	for _, between := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(between)
	}
	leaf := s.PeerCertificates[0]
	if _, err := leaf.Verify(o); err != nil {
		return fmt.Errorf("verifying the server: %w", err)
	}
	return c.Accept(leaf)
}
