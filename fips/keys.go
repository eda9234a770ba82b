package fips

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
)

// KeyType names a kind of key that Kedge can make.
type KeyType string

// The kinds of key. RSA-2048 exists for clients and tests; a policy refuses it
// for a CA.
const (
	ECDSAP256 KeyType = "ecdsa-p256"
	ECDSAP384 KeyType = "ecdsa-p384"
	RSA2048   KeyType = "rsa-2048"
	RSA3072   KeyType = "rsa-3072"
	RSA4096   KeyType = "rsa-4096"
)

// ParseKeyType returns the key type that s names, exactly as it is written in
// a configuration.
func ParseKeyType(s string) (KeyType, error) {
	switch k := KeyType(s); k {
	case ECDSAP256, ECDSAP384, RSA2048, RSA3072, RSA4096:
		return k, nil
	}
	return "", fmt.Errorf("unknown key type %q: want ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096", s)
}

// GenerateKey makes a key pair inside the module, which runs its pairwise
// consistency test on it (FIPS 140-3 IG 10.3.A). The result is an
// *ecdsa.PrivateKey or an *rsa.PrivateKey.
func GenerateKey(k KeyType) (crypto.Signer, error) {
	var s crypto.Signer
	var err error
	switch k {
	case ECDSAP256:
		s, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		s, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		s, err = rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		s, err = rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		s, err = rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("generating key: unknown key type %q", k)
	}
	if err != nil {
		return nil, fmt.Errorf("generating %s key: %w", k, err)
	}
	return s, nil
}

// KeyTypeOf returns the key type of pub, which may be a kind a policy refuses.
func KeyTypeOf(pub crypto.PublicKey) (KeyType, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k == nil {
			break
		}
		switch k.Curve {
		case elliptic.P256():
			return ECDSAP256, nil
		case elliptic.P384():
			return ECDSAP384, nil
		}
	case *rsa.PublicKey:
		if k == nil || k.N == nil {
			break
		}
		switch k.N.BitLen() {
		case 2048:
			return RSA2048, nil
		case 3072:
			return RSA3072, nil
		case 4096:
			return RSA4096, nil
		}
	}
	return "", fmt.Errorf("naming key type: %T is not a kind of key Kedge makes", pub)
}

// PublicKeyEqual reports whether a and b are the same public key. A nil key or
// one of an unknown kind equals nothing.
func PublicKeyEqual(a, b crypto.PublicKey) bool {
	switch k := a.(type) {
	case *ecdsa.PublicKey:
		return k != nil && k.Equal(b)
	case *rsa.PublicKey:
		return k != nil && k.Equal(b)
	}
	return false
}
