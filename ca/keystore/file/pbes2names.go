package file

import (
	"encoding/asn1"
	"fmt"
)

// The loose types read the algorithms alone, so that a refusal can name what it
// found even where the parameters have another shape.
type anyAlgorithm struct {
	Algorithm asn1.ObjectIdentifier
	Params    asn1.RawValue `asn1:"optional"`
}

// schemeOf reads the encryption scheme of an EncryptedPrivateKeyInfo.
func schemeOf(der []byte) (asn1.ObjectIdentifier, error) {
	var outer struct {
		Scheme     anyAlgorithm
		Ciphertext []byte
	}
	rest, err := asn1.Unmarshal(der, &outer)
	if err != nil {
		return nil, fmt.Errorf("not an encrypted PKCS#8 key: %w", err)
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%d bytes after the sealed key", len(rest))
	}
	return outer.Scheme.Algorithm, nil
}

// checkAlgorithms names the first algorithm inside PBES2 that is not allowed.
func checkAlgorithms(der []byte) error {
	var outer struct {
		Scheme struct {
			Algorithm asn1.ObjectIdentifier
			Params    struct{ KDF, Cipher anyAlgorithm }
		}
		Ciphertext []byte
	}
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return fmt.Errorf("PBES2 parameters: %w", err)
	}
	kdf, cipher := outer.Scheme.Params.KDF, outer.Scheme.Params.Cipher
	if !kdf.Algorithm.Equal(oidPBKDF2) {
		return fmt.Errorf("key derivation %s is not allowed, only PBKDF2", kdf.Algorithm)
	}
	if !cipher.Algorithm.Equal(oidAES256CBC) {
		return fmt.Errorf("cipher %s is not allowed, only AES-256-CBC", cipher.Algorithm)
	}
	var params struct {
		Salt       []byte
		Iterations int
		KeyLength  int          `asn1:"optional"`
		PRF        anyAlgorithm `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(kdf.Params.FullBytes, &params); err != nil {
		return fmt.Errorf("PBKDF2 parameters: %w", err)
	}
	if len(params.PRF.Algorithm) == 0 {
		return fmt.Errorf("PBKDF2 with HMAC-SHA-1 is not allowed, only HMAC-SHA-256")
	}
	if !params.PRF.Algorithm.Equal(oidHMACWithSHA256) {
		return fmt.Errorf("PBKDF2 with %s is not allowed, only HMAC-SHA-256", params.PRF.Algorithm)
	}
	return nil
}
