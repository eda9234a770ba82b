package ca

import (
	"crypto"
	"crypto/x509"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// NewReplicaCertificate makes the self-signed certificate by which a replica shows its
// primary the key that it has registered. It names nobody and is no CA: the primary
// knows the key, and looks at nothing else. It lasts as long as a root, because no
// clock decides whether a replica may come back after an outage.
func NewReplicaCertificate(signer crypto.Signer, policy fips.Policy, now time.Time) (*x509.Certificate, error) {
	return selfSigned(selfSigning{"Replica", signer, policy, now, now.Add(RootLifetime), oidClientAuth})
}
