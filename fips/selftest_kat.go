package fips

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// errKnownAnswer is the failure of a known-answer test.
var errKnownAnswer = errors.New("wrong answer")

func knownAnswerTests() []selfTest {
	return []selfTest{
		{name: "kat_sha256", run: func() error {
			sum := sha256.Sum256([]byte("abc"))
			return answer(sum[:], vectorSHA256)
		}},
		{name: "kat_sha384", run: func() error {
			sum := sha512.Sum384([]byte("abc"))
			return answer(sum[:], vectorSHA384)
		}},
		{name: "kat_hmac_sha256", run: func() error {
			h := hmac.New(sha256.New, []byte("Jefe"))
			h.Write([]byte("what do ya want for nothing?"))
			return answer(h.Sum(nil), vectorHMAC)
		}},
		{name: "kat_aes256_gcm", run: katGCM},
		{name: "kat_ecdsa_p256_verify", run: func() error {
			return katECDSA(elliptic.P256(), [3]string{vectorP256Point, vectorP256R, vectorP256S})
		}},
		{name: "kat_ecdsa_p384_verify", run: func() error {
			return katECDSA(elliptic.P384(), [3]string{vectorP384Point, vectorP384R, vectorP384S})
		}},
		{name: "kat_rsa_pkcs1v15", run: func() error { return katRSA(vectorRSASignature) }},
		{name: "drbg_no_repeat", run: drbgMoves},
	}
}

// answer compares got with a hexadecimal vector.
func answer(got []byte, want string) error {
	w, err := hex.DecodeString(want)
	if err != nil {
		return fmt.Errorf("decoding vector: %w", err)
	}
	if !bytes.Equal(got, w) {
		return errKnownAnswer
	}
	return nil
}

// katGCM seals, opens, and must not open a changed text.
func katGCM() error {
	key, err1 := hex.DecodeString(vectorGCMKey)
	nonce, err2 := hex.DecodeString(vectorGCMNonce)
	plain, err3 := hex.DecodeString(vectorGCMPlain)
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("decoding vector: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	sealed := gcm.Seal(nil, nonce, plain, nil)
	if err := answer(sealed, vectorGCMSealed); err != nil {
		return err
	}
	opened, err := gcm.Open(nil, nonce, sealed, nil)
	if err != nil || !bytes.Equal(opened, plain) {
		return errKnownAnswer
	}
	sealed[0] ^= 1
	if _, err := gcm.Open(nil, nonce, sealed, nil); err == nil {
		return errors.New("a changed ciphertext was accepted")
	}
	return nil
}

// katECDSA verifies a published signature of "sample", given as point, r and
// s, and must refuse it for another message.
func katECDSA(curve elliptic.Curve, vector [3]string) error {
	point, err := hex.DecodeString(vector[0])
	if err != nil {
		return fmt.Errorf("decoding vector: %w", err)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return err
	}
	scheme, err := SchemeFor(pub)
	if err != nil {
		return err
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, v := range vector[1:] {
			n, ok := new(big.Int).SetString(v, 16)
			if !ok {
				b.SetError(errors.New("decoding vector"))
				return
			}
			b.AddASN1BigInt(n)
		}
	})
	sig, err := b.Bytes()
	if err != nil {
		return err
	}
	if Verify(pub, scheme, []byte("sample"), sig) != nil {
		return errKnownAnswer
	}
	if Verify(pub, scheme, []byte("test"), sig) == nil {
		return errors.New("another message verifies too")
	}
	return nil
}

// katRSA signs, which is deterministic in PKCS #1 v1.5, and compares.
func katRSA(want string) error {
	der, err1 := base64.StdEncoding.DecodeString(vectorRSAKey)
	wantSig, err2 := base64.StdEncoding.DecodeString(want)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("decoding vector: %w", err)
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return err
	}
	key, ok := k.(*rsa.PrivateKey)
	if !ok {
		return errors.New("decoding vector: not an RSA key")
	}
	sig, err := Sign(key, schemeRSA(x509.SHA256WithRSA, crypto.SHA256, 0x0b), []byte(vectorRSAMessage))
	if err != nil {
		return err
	}
	if !bytes.Equal(sig, wantSig) {
		return errKnownAnswer
	}
	return nil
}

// drbgMoves draws twice: a stuck generator repeats itself or gives zeros.
func drbgMoves() error {
	var a, b [32]byte
	if err := errors.Join(Random(a[:]), Random(b[:])); err != nil {
		return err
	}
	if a == b || a == [32]byte{} {
		return errors.New("the random bit generator repeats itself")
	}
	return nil
}
