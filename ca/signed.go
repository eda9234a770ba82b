package ca

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// CheckIntermediateCSR reads a request for an intermediate and proves that its
// sender holds the key and that policy allows the key to sign certificates until
// notAfter (RFC 2986 §4.2). Everything else in the request is ignored: an
// intermediate takes nothing but the key from it.
func CheckIntermediateCSR(der []byte, policy fips.Policy, notAfter time.Time) (*x509.CertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("reading request: %w", err)
	}
	if d := policy.CheckKey(csr.PublicKey, fips.UseCA, notAfter); !d.Allow {
		return nil, fmt.Errorf("%s: %s", d.Code, d.Detail)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("request signature: %w", err)
	}
	return csr, nil
}

// SignedIntermediate is what a root outside this process has signed, beside what
// it was asked for.
type SignedIntermediate struct {
	Chain   []*x509.Certificate // the intermediate first, without the anchor
	Anchor  *x509.Certificate   // under which it must stand
	CSR     *x509.CertificateRequest
	Request IntermediateRequest
	Policy  fips.Policy
}

// clockSlack is how far the dates of a certificate may be from those asked for.
const clockSlack = time.Minute

// Check holds an answer to its request, so that a root that is wrong, or speaks
// for somebody else, is found where it is asked. Every difference is an *Error
// with ReasonRootMismatch.
func (s SignedIntermediate) Check() error {
	if err := s.check(); err != nil {
		return &Error{Reason: ReasonRootMismatch, Err: fmt.Errorf("checking the root's answer: %w", err)}
	}
	return nil
}

func (s SignedIntermediate) check() error {
	if len(s.Chain) == 0 {
		return fmt.Errorf("there is no certificate in it")
	}
	cert := s.Chain[0]
	if !bytes.Equal(cert.RawSubjectPublicKeyInfo, s.CSR.RawSubjectPublicKeyInfo) {
		return fmt.Errorf("the certificate is for another key than the request")
	}
	if err := checkIntermediate(cert, s.Request.TrustDomain); err != nil {
		return err
	}
	if len(cert.DNSNames)+len(cert.EmailAddresses)+len(cert.IPAddresses) > 0 {
		return fmt.Errorf("it carries names that nobody asked for")
	}
	if cert.SerialNumber.Sign() <= 0 || cert.SerialNumber.BitLen() < 64 {
		return fmt.Errorf("its serial number has %d bits, not 64 random ones", cert.SerialNumber.BitLen())
	}
	for _, link := range append(s.Chain[:len(s.Chain):len(s.Chain)], s.Anchor) {
		if err := checkForm(link); err != nil {
			return fmt.Errorf("chain certificate %q: %w", link.Subject.CommonName, err)
		}
	}
	for _, link := range s.Chain {
		if bytes.Equal(link.Raw, s.Anchor.Raw) {
			return fmt.Errorf("the anchor is in the chain")
		}
		if err := checkCAKey(link, s.Policy); err != nil {
			return fmt.Errorf("chain certificate %q: %w", link.Subject.CommonName, err)
		}
	}
	for i, link := range s.Chain {
		parent := s.Anchor
		if i+1 < len(s.Chain) {
			parent = s.Chain[i+1]
		}
		if err := checkIssuedBy(link, parent); err != nil {
			return fmt.Errorf("certificate %d of the chain is not issued by the next: %w", i, err)
		}
	}
	if err := s.checkDates(cert); err != nil {
		return err
	}
	return s.checkPath(cert)
}

// checkPath verifies the chain as a workload's peer will (RFC 5280 §6.1), at the
// time of the request: what stands between may be over, limited in its path length,
// or constrained, and then no leaf would be accepted.
func (s SignedIntermediate) checkPath(cert *x509.Certificate) error {
	at := s.Request.NotBefore.Add(CABackdate)
	if cert.NotBefore.After(at) { // within clockSlack
		at = cert.NotBefore
	}
	for below, above := range append(s.Chain[1:len(s.Chain):len(s.Chain)], s.Anchor) {
		if hasPathLen := above.MaxPathLen > 0 || above.MaxPathLenZero; hasPathLen && above.MaxPathLen <= below {
			return fmt.Errorf("path length %d of %q allows no leaf below it", above.MaxPathLen, above.Subject.CommonName)
		}
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(s.Anchor)
	for _, link := range s.Chain[1:] {
		between.AddCert(link)
	}
	// Every usage of a leaf has to be possible, and one list would be satisfied by any.
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			return fmt.Errorf("verifying the chain: %w", err)
		}
	}
	return nil
}

// checkDates lets a certificate end early where its anchor does, and nowhere else.
func (s SignedIntermediate) checkDates(cert *x509.Certificate) error {
	end := s.Request.NotAfter
	for _, above := range append(s.Chain[1:len(s.Chain):len(s.Chain)], s.Anchor) {
		if above.NotAfter.Before(end) {
			end = above.NotAfter
		}
	}
	switch {
	case cert.NotAfter.After(s.Request.NotAfter.Add(clockSlack)):
		return fmt.Errorf("it ends at %s, later than was asked for", cert.NotAfter)
	case cert.NotAfter.Before(end.Add(-clockSlack)):
		return fmt.Errorf("it ends at %s, earlier than was asked for; %s was possible", cert.NotAfter, end)
	case cert.NotBefore.After(s.Request.NotBefore.Add(CABackdate + clockSlack)):
		return fmt.Errorf("it begins at %s, in the future; compare the clocks", cert.NotBefore)
	}
	return nil
}

// Bounds of a certificate that every leaf carries with it, or repeats a part of. A
// key id is a hash: RFC 5280 §4.2.1.2 and RFC 7093 §2 have 160 bits of one.
const (
	maxCACertificate = 4 << 10
	minKeyID         = 20
	maxKeyID         = 32
)

// checkForm refuses what verifiers read in different ways, or not at all.
func checkForm(c *x509.Certificate) error {
	switch {
	case len(c.Raw) > maxCACertificate:
		return fmt.Errorf("it has %d bytes, at most %d are sent with every leaf", len(c.Raw), maxCACertificate)
	case len(c.SubjectKeyId) < minKeyID || len(c.SubjectKeyId) > maxKeyID:
		return fmt.Errorf("its subject key id has %d bytes, not %d to %d", len(c.SubjectKeyId), minKeyID, maxKeyID)
	case HasNameConstraints(c):
		return fmt.Errorf("it has name constraints, which verifiers read in different ways and which would bind every leaf")
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("it has the critical extension %v", c.UnhandledCriticalExtensions[0])
	}
	return nil
}

// nameConstraints is id-ce-nameConstraints (RFC 5280 §4.2.1.10).
var nameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}

// HasNameConstraints tells whether a CA certificate limits the names below it. It
// looks for the extension itself: crypto/x509 passes over kinds of names that other
// verifiers hold a leaf to.
func HasNameConstraints(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(nameConstraints) })
}
