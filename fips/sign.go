package fips

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrSignatureFault means that a signature did not verify with the signer's
// own public key: the key, the memory or the module is faulty. The signature
// was discarded; the caller latches the module with Module.Fail.
var ErrSignatureFault = errors.New("signature does not verify with the signer's own key")

// SignatureScheme is how one kind of key signs: a hash, the algorithm's name in
// crypto/x509 and its DER AlgorithmIdentifier. SchemeFor makes it.
type SignatureScheme struct {
	Algorithm x509.SignatureAlgorithm
	Hash      crypto.Hash
	// AlgorithmIdentifier is the DER of the whole SEQUENCE (RFC 5758 §3.2: no
	// parameters for ECDSA; RFC 4055 §5: NULL for RSA PKCS #1 v1.5).
	AlgorithmIdentifier []byte
}

// SchemeFor returns the scheme for pub: SHA-256 with P-256, SHA-384 with P-384,
// SHA-256 with RSA. RSA signs with PKCS #1 v1.5, which every mesh proxy
// verifies, and with SHA-256 at every size, since 2048…4096 bits have at most
// 152 bits of strength; Policy.SchemeFor chooses SHA-384 where cnsa1 asks.
func SchemeFor(pub crypto.PublicKey) (SignatureScheme, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k == nil {
			break
		}
		switch k.Curve {
		case elliptic.P256():
			return schemeECDSA(x509.ECDSAWithSHA256, crypto.SHA256, 0x02), nil
		case elliptic.P384():
			return schemeECDSA(x509.ECDSAWithSHA384, crypto.SHA384, 0x03), nil
		}
		return SignatureScheme{}, errors.New("choosing signature scheme: ECDSA curve is neither P-256 nor P-384")
	case *rsa.PublicKey:
		return schemeRSA(x509.SHA256WithRSA, crypto.SHA256, 0x0b), nil
	}
	return SignatureScheme{}, fmt.Errorf("choosing signature scheme: %T does not sign", pub)
}

// schemeECDSA builds ecdsa-with-SHA2: 1.2.840.10045.4.3.last.
func schemeECDSA(a x509.SignatureAlgorithm, h crypto.Hash, last byte) SignatureScheme {
	return SignatureScheme{a, h, []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last}}
}

// schemeRSA builds shaXWithRSAEncryption: 1.2.840.113549.1.1.last.
func schemeRSA(a x509.SignatureAlgorithm, h crypto.Hash, last byte) SignatureScheme {
	return SignatureScheme{a, h, []byte{0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last, 0x05, 0x00}}
}

// Sign hashes message, signs it and verifies the result with s.Public before
// returning it, so that a fault never leaves the process. The random source is
// always the module's. Cost: one signature and one verification. Errors:
// ErrSignatureFault when the check fails, else whatever the signer returned.
//
// SignDigest below it is the only call of a private key in Kedge.
func Sign(s crypto.Signer, scheme SignatureScheme, message []byte) ([]byte, error) {
	d, err := hashMessage(scheme, message)
	if err != nil {
		return nil, err
	}
	return SignDigest(s, scheme, d)
}

// Verify checks sig over message with pub under scheme.
func Verify(pub crypto.PublicKey, scheme SignatureScheme, message, sig []byte) error {
	d, err := hashMessage(scheme, message)
	if err != nil {
		return err
	}
	if err := schemeFits(pub, scheme); err != nil {
		return err
	}
	return verifyDigest(pub, scheme, d, sig)
}

// CreateRequest returns the DER of a PKCS #10 request for tmpl, signed by s
// with the scheme of its key; tmpl's own SignatureAlgorithm is ignored.
func CreateRequest(tmpl *x509.CertificateRequest, s crypto.Signer) ([]byte, error) {
	scheme, err := SchemeFor(s.Public())
	if err != nil {
		return nil, fmt.Errorf("creating certificate request: %w", err)
	}
	t := *tmpl
	t.SignatureAlgorithm = scheme.Algorithm
	der, err := x509.CreateCertificateRequest(rand.Reader, &t, s)
	if err != nil {
		return nil, fmt.Errorf("creating certificate request: %w", err)
	}
	return der, nil
}

func hashMessage(scheme SignatureScheme, message []byte) ([]byte, error) {
	switch scheme.Hash {
	case crypto.SHA256:
		d := sha256.Sum256(message)
		return d[:], nil
	case crypto.SHA384:
		d := sha512.Sum384(message)
		return d[:], nil
	}
	return nil, fmt.Errorf("hashing: no scheme of this package uses hash %d", uint(scheme.Hash))
}

// schemeFits refuses a scheme that was made for another kind of key: the
// AlgorithmIdentifier in a certificate would lie.
func schemeFits(pub crypto.PublicKey, scheme SignatureScheme) error {
	ok := false
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		ok = scheme.Algorithm == x509.ECDSAWithSHA256 && k.Curve == elliptic.P256() && scheme.Hash == crypto.SHA256 ||
			scheme.Algorithm == x509.ECDSAWithSHA384 && k.Curve == elliptic.P384() && scheme.Hash == crypto.SHA384
	case *rsa.PublicKey:
		ok = scheme.Algorithm == x509.SHA256WithRSA && scheme.Hash == crypto.SHA256 ||
			scheme.Algorithm == x509.SHA384WithRSA && scheme.Hash == crypto.SHA384
	}
	if !ok {
		return fmt.Errorf("scheme %v does not fit a %T", scheme.Algorithm, pub)
	}
	return nil
}

func verifyDigest(pub crypto.PublicKey, scheme SignatureScheme, digest, sig []byte) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(k, digest, sig) {
			return nil
		}
	case *rsa.PublicKey:
		if rsa.VerifyPKCS1v15(k, scheme.Hash, digest, sig) == nil {
			return nil
		}
	}
	return errors.New("signature does not verify")
}
