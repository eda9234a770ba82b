package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"math/big"
)

// family is a kind of signature of RFC 7518 §3.
type family uint8

const (
	rsaPKCS1 family = iota + 1 // §3.3
	rsaPSS                     // §3.5
	ecdsaRaw                   // §3.4
)

// algorithm is an allowed value of the header "alg". The zero value is none.
type algorithm struct {
	name   string
	family family
	hash   crypto.Hash
}

// algorithmNamed finds an allowed algorithm: those of RFC 7518 that the module
// approves. "none" and HS* prove nothing to somebody who holds public keys only,
// EdDSA is not in the module, and ES512 has no key that our policy accepts.
func algorithmNamed(name string) (algorithm, bool) {
	switch name {
	case "RS256":
		return algorithm{name, rsaPKCS1, crypto.SHA256}, true
	case "RS384":
		return algorithm{name, rsaPKCS1, crypto.SHA384}, true
	case "RS512":
		return algorithm{name, rsaPKCS1, crypto.SHA512}, true
	case "PS256":
		return algorithm{name, rsaPSS, crypto.SHA256}, true
	case "PS384":
		return algorithm{name, rsaPSS, crypto.SHA384}, true
	case "PS512":
		return algorithm{name, rsaPSS, crypto.SHA512}, true
	case "ES256":
		return algorithm{name, ecdsaRaw, crypto.SHA256}, true
	case "ES384":
		return algorithm{name, ecdsaRaw, crypto.SHA384}, true
	}
	return algorithm{}, false
}

var errSignature = errors.New("signature does not verify")

// verify checks signature over signed. An algorithm and a key of different
// kinds never verify: the key decides what it is good for, not the token
// (RFC 8725 §3.1).
func (a algorithm) verify(key crypto.PublicKey, signed, signature []byte) error {
	digest := a.digest(signed)
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch a.family {
		case rsaPKCS1:
			return rsa.VerifyPKCS1v15(k, a.hash, digest, signature)
		case rsaPSS:
			// RFC 7518 §3.5: the salt is as long as the hash.
			return rsa.VerifyPSS(k, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	case *ecdsa.PublicKey:
		if a.family == ecdsaRaw && k.Curve == a.curve() {
			return verifyECDSA(k, digest, signature)
		}
	}
	return errSignature
}

// fits tells whether key is of the kind that a is made with.
func (a algorithm) fits(key crypto.PublicKey) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return a.family == rsaPKCS1 || a.family == rsaPSS
	case *ecdsa.PublicKey:
		return a.family == ecdsaRaw && k.Curve == a.curve()
	}
	return false
}

// curve is the only curve of an ECDSA algorithm (RFC 7518 §3.4).
func (a algorithm) curve() elliptic.Curve {
	if a.hash == crypto.SHA384 {
		return elliptic.P384()
	}
	return elliptic.P256()
}

func (a algorithm) digest(signed []byte) []byte {
	switch a.hash {
	case crypto.SHA384:
		d := sha512.Sum384(signed)
		return d[:]
	case crypto.SHA512:
		d := sha512.Sum512(signed)
		return d[:]
	}
	d := sha256.Sum256(signed)
	return d[:]
}

// verifyECDSA checks r || s, each as long as the curve's order (RFC 7518 §3.4).
func verifyECDSA(key *ecdsa.PublicKey, digest, signature []byte) error {
	size := (key.Curve.Params().BitSize + 7) / 8
	if len(signature) != 2*size {
		return errSignature
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	if !ecdsa.Verify(key, digest, r, s) {
		return errSignature
	}
	return nil
}
