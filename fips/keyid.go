package fips

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// keyIDSize is the length of a key identifier in octets (RFC 7093 §2).
const keyIDSize = 20

// KeyID returns the key identifier of pub: see KeyIDFromSPKI.
func KeyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("making key identifier: %w", err)
	}
	return KeyIDFromSPKI(der)
}

// KeyIDFromSPKI returns the key identifier of a DER SubjectPublicKeyInfo: the
// leftmost 160 bits of the SHA-256 of the subjectPublicKey bits (RFC 7093 §2
// method 1). Kedge makes no SHA-1 identifier.
func KeyIDFromSPKI(spki []byte) ([]byte, error) {
	input := cryptobyte.String(spki)
	var seq, algorithm cryptobyte.String
	var bits []byte
	if !input.ReadASN1(&seq, asn1.SEQUENCE) || !input.Empty() ||
		!seq.ReadASN1(&algorithm, asn1.SEQUENCE) ||
		!seq.ReadASN1BitStringAsBytes(&bits) || !seq.Empty() {
		return nil, errors.New("making key identifier: malformed SubjectPublicKeyInfo")
	}
	sum := sha256.Sum256(bits)
	return sum[:keyIDSize:keyIDSize], nil
}
