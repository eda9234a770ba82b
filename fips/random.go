package fips

import (
	"crypto/rand"
	"fmt"
)

// serialSize is the longest serial RFC 5280 §4.1.2.2 allows, in octets.
const serialSize = 20

// Random fills b from the module's random bit generator (SP 800-90A).
func Random(b []byte) error {
	if _, err := rand.Read(b); err != nil {
		return fmt.Errorf("reading random bytes: %w", err)
	}
	return nil
}

// NewSerial returns a certificate serial as the content octets of a DER
// INTEGER: 20 octets, positive, minimally encoded, with more than 158 bits
// from the module's generator. The first octet lies in 1…127; the few values
// outside are drawn again rather than patched, so every serial is equally
// likely.
func NewSerial() ([]byte, error) {
	b := make([]byte, serialSize)
	for {
		if err := Random(b); err != nil {
			return nil, fmt.Errorf("making serial: %w", err)
		}
		if b[0] &= 0x7f; b[0] != 0 {
			return b, nil
		}
	}
}
