package cas

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// ahead is taken off the life that is asked of an authority with a clock of its
// own: what it signs must not end later than was asked for.
const ahead = 2 * time.Second

// request asks for the intermediate that p describes (docs/certificate-spec.md).
// Of the CSR only the key counts; step-ca wants to see it all.
func (r *Root) request(der []byte, p ca.IntermediateRequest) (*apiv1.CreateCertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	keyID, err := fips.KeyIDFromSPKI(csr.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, err
	}
	serial, err := fips.NewSerial()
	if err != nil {
		return nil, err
	}
	domain, err := url.Parse(p.TrustDomain.URI())
	if err != nil {
		return nil, fmt.Errorf("trust domain: %w", err)
	}
	life := p.NotAfter.Sub(r.c.Now()) - ahead
	if life <= 0 {
		return nil, fmt.Errorf("the intermediate would end at %s", p.NotAfter)
	}
	return &apiv1.CreateCertificateRequest{
		CSR: csr, Lifetime: life,
		Template: &x509.Certificate{
			SerialNumber: new(big.Int).SetBytes(serial),
			Subject:      pkix.Name{Organization: []string{"Kedge"}, CommonName: "Intermediate " + hex.EncodeToString(keyID[:8])},
			URIs:         []*url.URL{domain},
			PublicKey:    csr.PublicKey, SubjectKeyId: keyID,
			NotBefore: p.NotBefore, NotAfter: p.NotAfter,
			BasicConstraintsValid: true, IsCA: true, MaxPathLen: 0, MaxPathLenZero: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		},
	}, nil
}
