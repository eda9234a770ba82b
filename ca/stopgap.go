package ca

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// NewStopgapCertificate makes a self-signed certificate with which a listener of
// health and metrics can shake hands while the server has no certificate of its
// authority. It names nobody, is no CA and chains to no anchor: a client that
// verifies refuses it, and one that verifies nothing, such as a kubelet's probe,
// learns what it asked for. It lasts a day from now, a leaf's longest life.
func NewStopgapCertificate(signer crypto.Signer, policy fips.Policy, now time.Time) (*x509.Certificate, error) {
	return selfSigned(selfSigning{"Stopgap", signer, policy, now, now.Add(MaxLeafTTL), oidServerAuth})
}

// selfSigning is a certificate that its own key signs and that chains to no anchor.
type selfSigning struct {
	role     string
	signer   crypto.Signer
	policy   fips.Policy
	now, end time.Time
	purpose  asn1.ObjectIdentifier
}

func selfSigned(c selfSigning) (*x509.Certificate, error) {
	fail := func(err error) (*x509.Certificate, error) {
		return nil, fmt.Errorf("making %s certificate: %w", strings.ToLower(c.role), err)
	}
	if d := c.policy.CheckKey(c.signer.Public(), fips.UseLeaf, c.end); !d.Allow {
		return fail(fmt.Errorf("%s: %s", d.Code, d.Detail))
	}
	spki, keyID, err := publicKeyInfo(c.signer.Public())
	if err != nil {
		return fail(err)
	}
	name, err := caName(c.role, keyID)
	if err != nil {
		return fail(err)
	}
	return signCA(&tbsCertificate{
		issuer: name, subject: name, spki: spki, notBefore: c.now.Add(-MaxBackdate), notAfter: c.end,
		extensions: []extension{keyUsage(0), extKeyUsage(c.purpose), notCA(), subjectKeyID(keyID), authorityKeyID(keyID)},
	}, c.signer, c.policy)
}
