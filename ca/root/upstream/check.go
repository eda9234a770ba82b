package upstream

import (
	"bytes"
	"crypto/x509"
	"fmt"

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
