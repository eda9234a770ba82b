package fips

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

const (
	// rsaExponent is the only public exponent accepted. FIPS 186-5 §A.1.1 allows
	// any odd number from 2^16+1; no proxy of a mesh makes another one, and one
	// value leaves nothing to argue about.
	rsaExponent = 65537
	// rsaMaxBits bounds the work that one foreign key can cause.
	rsaMaxBits = 4096
)

// CheckKey judges a public key for a use. notAfter is the latest instant at
// which the certificate may be valid. It is pure, costs about a microsecond for
// ECDSA and under a millisecond for RSA, and never panics: a request's PublicKey
// is nil when crypto/x509 does not know its algorithm.
func (p Policy) CheckKey(pub crypto.PublicKey, use Use, notAfter time.Time) Decision {
	if p.p == nil {
		return refuse("policy_invalid", "", "no policy was chosen")
	}
	if use < UseLeaf || use > UseTLS {
		return refuse("use_invalid", "", "the use of the key was not stated")
	}
	switch k := pub.(type) {
	case nil:
		return refuse("key_missing", "FIPS 186-5", "no key, or one of an unknown algorithm")
	case *ecdsa.PublicKey:
		return p.p.checkECDSA(k)
	case *rsa.PublicKey:
		return p.p.checkRSA(k, use, notAfter)
	case ed25519.PublicKey:
		return refuse("key_ed25519", "CMVP #4735: not in the module", "Ed25519")
	}
	return refuse("key_unsupported", "FIPS 186-5", fmt.Sprintf("%T", pub))
}

// CheckSPKI refuses a DER SubjectPublicKeyInfo whose private key is public
// knowledge: the test vectors in this package.
func (p Policy) CheckSPKI(spki []byte) Decision {
	if p.p == nil {
		return refuse("policy_invalid", "", "no policy was chosen")
	}
	sum := sha256.Sum256(spki)
	if name, ok := publishedKeys[hex.EncodeToString(sum[:])]; ok {
		return refuse("key_published", "SP 800-57 pt. 1 §5.3.6", "private key is published: "+name)
	}
	return Decision{Allow: true}
}

func (p *profile) checkECDSA(k *ecdsa.PublicKey) Decision {
	const curves = "SP 800-186 §3.2.1"
	if k == nil || k.Curve == nil || k.X == nil || k.Y == nil {
		return refuse("key_ecdsa_malformed", "FIPS 186-5 §6.2", "incomplete ECDSA key")
	}
	// The singletons are compared, not their names: a foreign implementation of
	// elliptic.Curve may claim any name, and its arithmetic is not the module's.
	name := ""
	switch k.Curve {
	case elliptic.P256():
		name = "P-256"
	case elliptic.P384():
		name = "P-384"
	case elliptic.P521():
		return refuse("key_ecdsa_p521", curves, "P-521 is not in this policy")
	case elliptic.P224():
		return refuse("key_ecdsa_p224", "SP 800-57 pt. 1 §5.6.1", "P-224 has 112 bits of strength")
	default:
		return refuse("key_ecdsa_curve", curves, "unknown curve")
	}
	if !slices.Contains(p.curves, name) {
		return refuse("key_ecdsa_profile", "CNSA 1.0", name+" is not in policy "+p.name)
	}
	if _, err := k.Bytes(); err != nil {
		return refuse("key_ecdsa_point", "SP 800-56A r3 §5.6.2.3.3", "not a point of "+name)
	}
	return Decision{Allow: true}
}

// checkRSA orders its tests by cost: nothing is computed with a modulus before
// its size is known to be one of three.
func (p *profile) checkRSA(k *rsa.PublicKey, use Use, notAfter time.Time) Decision {
	if k == nil || k.N == nil || k.N.Sign() <= 0 {
		return refuse("key_rsa_malformed", "FIPS 186-5 §5.1", "RSA key without a modulus")
	}
	bits := k.N.BitLen()
	switch {
	case bits < 2048:
		return refuse("key_rsa_too_small", "FIPS 186-5 §5.1", fmt.Sprintf("RSA modulus of %d bits", bits))
	case bits > rsaMaxBits:
		return refuse("key_rsa_too_large", "", fmt.Sprintf("RSA modulus of %d bits", bits))
	case bits != 2048 && bits != 3072 && bits != 4096:
		// BoringCrypto peers with the TLS filter accept exactly these three.
		return refuse("key_rsa_size", "SP 800-131A r2 §3", fmt.Sprintf("RSA modulus of %d bits", bits))
	}
	if k.E != rsaExponent {
		return refuse("key_rsa_exponent", "FIPS 186-5 §A.1.1", fmt.Sprintf("RSA public exponent %d", k.E))
	}
	if d := p.checkRSASize(bits, use, notAfter); !d.Allow {
		return d
	}
	return checkModulus(k.N)
}

func (p *profile) checkRSASize(bits int, use Use, notAfter time.Time) Decision {
	allowed, code := p.leafRSABits, "key_rsa_profile"
	if use == UseCA {
		allowed, code = p.caRSABits, "key_rsa_ca_size"
	}
	if !slices.Contains(allowed, bits) {
		return refuse(code, "SP 800-57 pt. 1 §5.6.1", fmt.Sprintf("RSA-%d is not in policy %s", bits, p.name))
	}
	if bits == 2048 && notAfter.After(p.rsa2048Until) {
		return refuse("key_rsa_2048_expiry", "SP 800-131A r3 (draft) §3",
			"an RSA-2048 certificate would be valid after "+p.rsa2048Until.Format(time.DateOnly))
	}
	return Decision{Allow: true}
}
