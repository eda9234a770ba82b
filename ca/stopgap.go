package ca

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// NewStopgapCertificate makes a self-signed certificate with which a listener of
// health and metrics can shake hands while the server has no certificate of its
// authority. It names nobody, is no CA and chains to no anchor: a client that
// verifies refuses it, and one that verifies nothing, such as a kubelet's probe,
// learns what it asked for. It lasts a day from now, a leaf's longest life.
func NewStopgapCertificate(signer crypto.Signer, policy fips.Policy, now time.Time) (*x509.Certificate, error) {
	end := now.Add(MaxLeafTTL)
	if d := policy.CheckKey(signer.Public(), fips.UseLeaf, end); !d.Allow {
		return nil, fmt.Errorf("making stopgap certificate: %s: %s", d.Code, d.Detail)
	}
	spki, keyID, err := publicKeyInfo(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("making stopgap certificate: %w", err)
	}
	name, err := caName("Stopgap", keyID)
	if err != nil {
		return nil, fmt.Errorf("making stopgap certificate: %w", err)
	}
	return signCA(&tbsCertificate{
		issuer: name, subject: name, spki: spki, notBefore: now.Add(-MaxBackdate), notAfter: end,
		extensions: []extension{keyUsage(0), extKeyUsage(oidServerAuth), notCA(), subjectKeyID(keyID), authorityKeyID(keyID)},
	}, signer, policy)
}
