package upstream

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// maxChain is the intermediate and what may stand between it and an anchor.
const maxChain = 4

func parseChain(der [][]byte) ([]*x509.Certificate, error) {
	if len(der) == 0 || len(der) > maxChain {
		return nil, fmt.Errorf("a chain of %d certificates, want 1 to %d", len(der), maxChain)
	}
	var chain []*x509.Certificate
	for i, raw := range der {
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// checkAnchor holds an anchor to what every root of Kedge is (RFC 5280 §6.1.1d):
// a CA that signed itself with a key and an algorithm that policy allows.
func (r *Root) checkAnchor(anchor *x509.Certificate) error {
	switch {
	case !anchor.BasicConstraintsValid || !anchor.IsCA:
		return fmt.Errorf("not a CA certificate")
	case !bytes.Equal(anchor.RawIssuer, anchor.RawSubject):
		return fmt.Errorf("not self-signed: it is issued by another name")
	}
	for _, d := range []fips.Decision{
		r.c.Policy.CheckKey(anchor.PublicKey, fips.UseCA, anchor.NotAfter),
		r.c.Policy.CheckSignatureAlgorithm(anchor.SignatureAlgorithm),
	} {
		if !d.Allow {
			return fmt.Errorf("%s: %s", d.Code, d.Detail)
		}
	}
	if err := anchor.CheckSignatureFrom(anchor); err != nil {
		return fmt.Errorf("not self-signed: %w", err)
	}
	return nil
}

// slack is how far a beginning may lie before what was asked for: an upstream that
// signs by its own clock rounds.
const slack = time.Minute

// checkBegin holds the beginning of an intermediate closer than SignedIntermediate
// does: an upstream is on this machine and has its clock.
func checkBegin(cert *x509.Certificate, want ca.IntermediateRequest) error {
	switch {
	case cert.NotBefore.After(want.NotBefore.Add(ca.CABackdate)):
		return ca.Refuse(ca.ReasonRootMismatch, "the upstream's answer begins at %s, in the future", cert.NotBefore)
	case cert.NotBefore.Before(want.NotBefore.Add(-slack)):
		return ca.Refuse(ca.ReasonRootMismatch, "the upstream's answer: it begins at %s, before %s", cert.NotBefore, want.NotBefore)
	}
	return nil
}
