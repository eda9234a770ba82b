package fips

import (
	"crypto"
	"crypto/rand"
	"fmt"
)

// SignDigest is Sign for a digest that somebody else made: a key behind another
// process signs no more than that. The digest must have the length of scheme's
// hash. Who calls it cannot know what is signed; use Sign wherever the message is
// at hand.
func SignDigest(s crypto.Signer, scheme SignatureScheme, digest []byte) ([]byte, error) {
	pub := s.Public()
	if err := checkDigest(pub, scheme, digest); err != nil {
		return nil, err
	}
	sig, err := s.Sign(rand.Reader, digest, scheme.Hash)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if err := verifyDigest(pub, scheme, digest, sig); err != nil {
		return nil, ErrSignatureFault
	}
	return sig, nil
}

// VerifyDigest checks sig over digest with pub under scheme.
func VerifyDigest(pub crypto.PublicKey, scheme SignatureScheme, digest, sig []byte) error {
	if err := checkDigest(pub, scheme, digest); err != nil {
		return err
	}
	return verifyDigest(pub, scheme, digest, sig)
}

func checkDigest(pub crypto.PublicKey, scheme SignatureScheme, digest []byte) error {
	if err := schemeFits(pub, scheme); err != nil {
		return err
	}
	if len(digest) != scheme.Hash.Size() {
		return fmt.Errorf("a digest of %d bytes is none of %s", len(digest), scheme.Hash)
	}
	return nil
}
