package vault

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// wrappedType is the PEM block of a passphrase that Vault encrypted; it stands
// before the sealed key.
const wrappedType = "KEDGE WRAPPED PASSPHRASE"

// SealerConfig names a key-encryption key in a transit engine.
type SealerConfig struct {
	Client *vault.Client
	Mount  string
	Key    string // of type aes256-gcm96
}

// Sealer encrypts a key file with a random passphrase of its own, and the
// passphrase with a key of Vault's, bound to the name of the key it seals. Vault
// never sees the private key, and a stolen file is worth nothing without Vault.
// It implements file.Sealer.
type Sealer struct{ c SealerConfig }

var _ file.Sealer = (*Sealer)(nil)

// NewSealer checks c. It asks no server.
func NewSealer(c SealerConfig) (*Sealer, error) {
	if c.Client == nil {
		return nil, fmt.Errorf("sealer: there is no connection to vault")
	}
	if err := vault.CheckMount(c.Mount); err != nil {
		return nil, fmt.Errorf("sealer: %w", err)
	}
	if err := vault.CheckName(c.Key); err != nil {
		return nil, fmt.Errorf("sealer: key: %w", err)
	}
	return &Sealer{c: c}, nil
}

// Seal implements file.Sealer.
func (s *Sealer) Seal(ctx context.Context, name string, pkcs8 []byte) ([]byte, error) {
	if err := s.checkKey(ctx); err != nil {
		return nil, fmt.Errorf("sealing key %s: %w", name, err)
	}
	var secret [32]byte
	if err := fips.Random(secret[:]); err != nil {
		return nil, fmt.Errorf("sealing key %s: %w", name, err)
	}
	passphrase := hex.AppendEncode(nil, secret[:])
	defer clear(passphrase)
	data, err := s.do(ctx, "encrypt", map[string]any{
		"plaintext": base64.StdEncoding.EncodeToString(passphrase), "associated_data": bind(name),
	})
	if err != nil {
		return nil, fmt.Errorf("sealing key %s: %w", name, err)
	}
	wrapped := data.Text("ciphertext")
	if !strings.HasPrefix(wrapped, "vault:v") {
		return nil, ca.Refuse(ca.ReasonRootAnswer, "sealing key %s: the answer has no ciphertext", name)
	}
	inner, err := file.NewPassphraseSealer(passphrase)
	if err != nil {
		return nil, err
	}
	sealed, err := inner.Seal(ctx, name, pkcs8)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: wrappedType, Bytes: []byte(wrapped)}), sealed...), nil
}

// Open implements file.Sealer.
func (s *Sealer) Open(ctx context.Context, name string, sealed []byte) ([]byte, error) {
	block, rest := pem.Decode(sealed)
	if block == nil || block.Type != wrappedType || len(block.Headers) != 0 {
		return nil, fmt.Errorf("opening key %s: it was not sealed with a key of Vault's; name the passphrase that it was sealed with", name)
	}
	data, err := s.do(ctx, "decrypt", map[string]any{"ciphertext": string(block.Bytes), "associated_data": bind(name)})
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", name, err)
	}
	passphrase, err := base64.StdEncoding.DecodeString(data.Text("plaintext"))
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRootAnswer, Err: fmt.Errorf("opening key %s: %w", name, err)}
	}
	defer clear(passphrase)
	inner, err := file.NewPassphraseSealer(passphrase)
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", name, err)
	}
	return inner.Open(ctx, name, rest)
}

// bind ties a wrapped passphrase to the key it is for, so that files cannot be
// exchanged for each other.
func bind(name string) string { return base64.StdEncoding.EncodeToString([]byte("kedge key " + name)) }

func (s *Sealer) do(ctx context.Context, operation string, body map[string]any) (vault.Data, error) {
	return s.c.Client.Do(ctx, vault.Request{
		Operation: operation, Method: http.MethodPost, Path: s.c.Mount + "/" + operation + "/" + s.c.Key, Body: body,
	})
}

// checkKey looks at the key-encryption key before anything is sealed under it.
func (s *Sealer) checkKey(ctx context.Context) error {
	data, err := s.c.Client.Do(ctx, vault.Request{Operation: "read_key", Method: http.MethodGet, Path: s.c.Mount + "/keys/" + s.c.Key})
	if err != nil {
		return err
	}
	if err := checkSafe(data); err != nil {
		return &ca.Error{Reason: ca.ReasonRootKey, Err: fmt.Errorf("transit key %s: %w", s.c.Key, err)}
	}
	if kind := data.Text("type"); kind != "aes256-gcm96" {
		return ca.Refuse(ca.ReasonRootKey, "transit key %s is of type %q, not aes256-gcm96", s.c.Key, kind)
	}
	return nil
}
