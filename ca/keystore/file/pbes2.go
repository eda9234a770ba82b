package file

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/kedge-ca/kedge/fips"
)

// Parameters of PBES2 (RFC 8018 §6.2) that are written, and the bounds of what is
// read. OWASP's floor for PBKDF2-HMAC-SHA-256 is 600 000 iterations; SP 800-132
// §5.1 wants 128 bits of salt. The upper bounds keep a planted file from costing
// minutes.
const (
	iterations    = 600_000
	maxIterations = 10_000_000
	saltLen       = 16
	maxSaltLen    = 64
	keyLen        = 32 // AES-256
	maxSealedDER  = 16 << 10
)

var (
	oidPBES2          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// ErrPassphrase says that a sealed key did not open: the passphrase is another
// one, or the file was damaged; PBES2 cannot tell these apart.
var ErrPassphrase = errors.New("wrong passphrase, or the file is damaged")

// The types are EncryptedPrivateKeyInfo (RFC 5958 §3) narrowed to the one
// combination of algorithms that is allowed.
type sealedKey struct {
	Scheme     pbes2Scheme
	Ciphertext []byte
}

type pbes2Scheme struct {
	Algorithm asn1.ObjectIdentifier
	Params    pbes2Params
}

type pbes2Params struct {
	KDF    kdf
	Cipher cipherScheme
}

type kdf struct {
	Algorithm asn1.ObjectIdentifier
	Params    pbkdf2Params
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int `asn1:"optional"`
	PRF        prf `asn1:"optional"` // absent means HMAC with SHA-1 (RFC 8018 A.2): refused
}

type prf struct {
	Algorithm asn1.ObjectIdentifier
	Null      asn1.RawValue
}

type cipherScheme struct {
	Algorithm asn1.ObjectIdentifier
	IV        []byte
}

// encrypt seals a PKCS#8 key under passphrase.
func encrypt(passphrase, pkcs8 []byte) ([]byte, error) {
	random := make([]byte, saltLen+aes.BlockSize)
	if err := fips.Random(random); err != nil {
		return nil, fmt.Errorf("making salt: %w", err)
	}
	salt, iv := random[:saltLen], random[saltLen:]
	block, err := deriveCipher(passphrase, salt, iterations)
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(pkcs8)%aes.BlockSize
	padded := append(bytes.Clone(pkcs8), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	der, err := asn1.Marshal(sealedKey{
		Scheme: pbes2Scheme{Algorithm: oidPBES2, Params: pbes2Params{
			KDF: kdf{Algorithm: oidPBKDF2, Params: pbkdf2Params{
				Salt: salt, Iterations: iterations,
				PRF: prf{Algorithm: oidHMACWithSHA256, Null: asn1.NullRawValue},
			}},
			Cipher: cipherScheme{Algorithm: oidAES256CBC, IV: iv},
		}},
		Ciphertext: padded,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding sealed key: %w", err)
	}
	return der, nil
}

// decrypt opens what encrypt or openssl sealed.
func decrypt(passphrase, der []byte) ([]byte, error) {
	sealed, err := parseSealed(der)
	if err != nil {
		return nil, err
	}
	params := sealed.Scheme.Params
	block, err := deriveCipher(passphrase, params.KDF.Params.Salt, params.KDF.Params.Iterations)
	if err != nil {
		return nil, err
	}
	padded := bytes.Clone(sealed.Ciphertext)
	cipher.NewCBCDecrypter(block, params.Cipher.IV).CryptBlocks(padded, padded)
	return unpad(padded)
}

// unpad needs no constant time: whoever can try ciphertexts here already owns
// the key's directory.
func unpad(padded []byte) ([]byte, error) {
	n := int(padded[len(padded)-1])
	if n == 0 || n > aes.BlockSize {
		return nil, ErrPassphrase
	}
	for _, b := range padded[len(padded)-n:] {
		if int(b) != n {
			return nil, ErrPassphrase
		}
	}
	return padded[:len(padded)-n], nil
}

func deriveCipher(passphrase, salt []byte, iterations int) (cipher.Block, error) {
	key, err := pbkdf2.Key(sha256.New, string(passphrase), salt, iterations, keyLen)
	if err != nil {
		return nil, fmt.Errorf("deriving key: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making cipher: %w", err)
	}
	return block, nil
}

// parseSealed reads an EncryptedPrivateKeyInfo and refuses every algorithm and
// parameter but the allowed ones.
func parseSealed(der []byte) (sealedKey, error) {
	var sealed sealedKey
	if len(der) > maxSealedDER {
		return sealed, fmt.Errorf("sealed key of %d bytes, limit %d", len(der), maxSealedDER)
	}
	scheme, err := schemeOf(der)
	if err != nil {
		return sealed, err
	}
	if !scheme.Equal(oidPBES2) {
		return sealed, fmt.Errorf("encryption scheme %s is not allowed, only PBES2", scheme)
	}
	if err := checkAlgorithms(der); err != nil {
		return sealed, err
	}
	if _, err := asn1.Unmarshal(der, &sealed); err != nil {
		return sealed, fmt.Errorf("sealed key is not as PBES2 wants it: %w", err)
	}
	if err := checkParameters(sealed); err != nil {
		return sealed, err
	}
	// encoding/asn1 lets a SEQUENCE have more at its end; one encoding only.
	again, err := asn1.Marshal(sealed)
	if err != nil || !bytes.Equal(der, again) {
		return sealed, fmt.Errorf("sealed key has bytes that do not belong there")
	}
	return sealed, nil
}

func checkParameters(sealed sealedKey) error {
	params := sealed.Scheme.Params
	switch kdf := params.KDF.Params; {
	case kdf.Iterations < iterations:
		return fmt.Errorf("%d PBKDF2 iterations, at least %d are needed", kdf.Iterations, iterations)
	case kdf.Iterations > maxIterations:
		return fmt.Errorf("%d PBKDF2 iterations, at most %d are tried", kdf.Iterations, maxIterations)
	case len(kdf.Salt) < saltLen:
		return fmt.Errorf("salt of %d bytes, at least %d are needed", len(kdf.Salt), saltLen)
	case len(kdf.Salt) > maxSaltLen:
		return fmt.Errorf("salt of %d bytes, at most %d are read", len(kdf.Salt), maxSaltLen)
	case kdf.KeyLength != 0 && kdf.KeyLength != keyLen:
		return fmt.Errorf("key length %d is not that of AES-256", kdf.KeyLength)
	case !bytes.Equal(kdf.PRF.Null.FullBytes, asn1.NullBytes):
		return fmt.Errorf("HMAC-SHA-256 has parameters")
	case len(params.Cipher.IV) != aes.BlockSize:
		return fmt.Errorf("IV of %d bytes", len(params.Cipher.IV))
	case len(sealed.Ciphertext) == 0 || len(sealed.Ciphertext)%aes.BlockSize != 0:
		return fmt.Errorf("ciphertext of %d bytes is no number of blocks", len(sealed.Ciphertext))
	}
	return nil
}
