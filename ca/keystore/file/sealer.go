package file

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"strings"
)

// Sealer encrypts private keys at rest. It is the seam for a key-encryption key
// that lives elsewhere: an implementation may ask Vault or a KMS, so both
// methods may block and honour ctx.
//
// Seal returns the content of the file for the PKCS#8 DER of the key called
// name; Open reverses it. Open of anything that this Sealer would not have
// written is an error. Both are safe for concurrent use and keep no argument.
type Sealer interface {
	Seal(ctx context.Context, name string, pkcs8 []byte) ([]byte, error)
	Open(ctx context.Context, name string, sealed []byte) ([]byte, error)
}

const pemType = "ENCRYPTED PRIVATE KEY" // RFC 7468 §11

// PassphraseSealer seals with a passphrase. It writes one PEM block that
// `openssl pkey -in FILE -passin ...` reads.
type PassphraseSealer struct {
	passphrase []byte
}

// NewPassphraseSealer refuses a passphrase below MinPassphrase bytes.
func NewPassphraseSealer(passphrase []byte) (*PassphraseSealer, error) {
	if len(passphrase) < MinPassphrase {
		return nil, tooShort(len(passphrase))
	}
	return &PassphraseSealer{passphrase: bytes.Clone(passphrase)}, nil
}

// Seal implements Sealer.
func (s *PassphraseSealer) Seal(_ context.Context, name string, pkcs8 []byte) ([]byte, error) {
	der, err := encrypt(s.passphrase, pkcs8)
	if err != nil {
		return nil, fmt.Errorf("sealing key %s: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// Open implements Sealer. A wrong passphrase is ErrPassphrase.
func (s *PassphraseSealer) Open(_ context.Context, name string, sealed []byte) ([]byte, error) {
	der, err := decodeOne(sealed)
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", name, err)
	}
	pkcs8, err := decrypt(s.passphrase, der)
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", name, err)
	}
	return pkcs8, nil
}

// decodeOne returns the DER of a file that is one PEM block and nothing else.
// OpenSSL ends the block with a newline; no other byte may stand around it.
func decodeOne(sealed []byte) ([]byte, error) {
	block, rest := pem.Decode(sealed)
	switch {
	case block == nil:
		return nil, fmt.Errorf("no whole PEM block; the file is truncated or is no key")
	case strings.HasSuffix(block.Type, "PRIVATE KEY") && block.Type != pemType:
		return nil, fmt.Errorf("it is not encrypted (%s); seal it with OpenSSL 3.2 or later: openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 600000 -saltlen 16", block.Type)
	case block.Type != pemType:
		return nil, fmt.Errorf("the PEM block is a %s, not a key", block.Type)
	case len(bytes.TrimSpace(rest)) != 0:
		return nil, fmt.Errorf("there is more after the PEM block; one key stands in a file")
	case len(block.Headers) != 0 || !bytes.HasPrefix(sealed, []byte("-----BEGIN ")):
		return nil, fmt.Errorf("there is more than the PEM block; one key stands in a file")
	}
	return block.Bytes, nil
}
