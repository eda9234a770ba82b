package fips

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// requireOwnKey takes one certificate that its own approved key has signed. The
// handshake has proved that the client has the key; dates and names say nothing here,
// because nobody vouches for them.
func requireOwnKey(s tls.ConnectionState) error {
	if len(s.PeerCertificates) != 1 {
		return fmt.Errorf("the client sent %d certificates, not one that is signed by its own key", len(s.PeerCertificates))
	}
	c := s.PeerCertificates[0]
	if _, err := SchemeFor(c.PublicKey); err != nil {
		return fmt.Errorf("the client's key: %w", err)
	}
	if c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
		return errors.New("the client's certificate is not signed by its own key")
	}
	return nil
}
