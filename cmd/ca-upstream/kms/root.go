package kms

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"go.step.sm/crypto/kms/apiv1"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/fips"
)

// Root signs intermediates with a key that the service holds. It implements
// ca.Root.
type Root struct {
	manager *Manager
	key     string
	anchor  *x509.Certificate
}

var _ ca.Root = (*Root)(nil)

// Root opens the root's key, by its URI, and holds it to its certificate.
func (m *Manager) Root(key string, anchor *x509.Certificate) (*Root, error) {
	if _, err := m.Signer(key, anchor); err != nil {
		return nil, err
	}
	return &Root{manager: m, key: key, anchor: anchor}, nil
}

// Signer opens a CA's key, by its URI, and holds it to policy and, unless that is
// nil, to its certificate.
func (m *Manager) Signer(key string, cert *x509.Certificate) (crypto.Signer, error) {
	if err := checkURI(key); err != nil {
		return nil, err
	}
	signer, err := m.signer(key)
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", key, err)
	}
	if cert != nil && !fips.PublicKeyEqual(signer.Public(), cert.PublicKey) {
		return nil, fmt.Errorf("key %s is not that of the certificate %q", key, cert.Subject.CommonName)
	}
	if d := m.c.Policy.CheckKey(signer.Public(), fips.UseCA, time.Time{}); !d.Allow {
		return nil, fmt.Errorf("key %s: %s: %s", key, d.Code, d.Detail)
	}
	return signer, nil
}

// CreateRootKey makes a key at a URI. One that is there is an error: with some
// services a second key would take its name.
func (m *Manager) CreateRootKey(ctx context.Context, key string, keyType fips.KeyType) error {
	if err := checkURI(key); err != nil {
		return err
	}
	if m.kind == apiv1.SoftKMS {
		return m.writeRootKey(ctx, key, keyType) // overwrites nothing
	}
	switch _, err := m.signer(key); {
	case err == nil:
		return fmt.Errorf("%s: %w", key, fs.ErrExist)
	case !m.isNotFound(err):
		return fmt.Errorf("looking for %s: %w; whether there is a key cannot be told, and none was made: make it with the tools of the service", key, err)
	}
	scheme, bits, err := algorithm(keyType)
	if err != nil {
		return err
	}
	_, err = m.keys.CreateKey(&apiv1.CreateKeyRequest{Name: key, SignatureAlgorithm: scheme, Bits: bits})
	return err
}

// writeRootKey makes a software key and seals it into its file.
func (m *Manager) writeRootKey(ctx context.Context, key string, keyType fips.KeyType) error {
	sealer, err := file.NewPassphraseSealer(m.c.Password)
	if err != nil {
		return err
	}
	signer, err := fips.GenerateKey(keyType)
	if err != nil {
		return err
	}
	return file.WriteKey(ctx, file.KeyFile{Path: strings.TrimPrefix(key, "softkms:"), Name: "root", Sealer: sealer}, signer)
}

func (m *Manager) signer(key string) (crypto.Signer, error) {
	return m.keys.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: key, Password: m.c.Password})
}

// Anchor implements ca.Root.
func (r *Root) Anchor(context.Context) (*x509.Certificate, error) { return r.anchor, nil }

// SignIntermediate implements ca.Root. The key is opened for each intermediate:
// there is one in days, and a token may have come back since.
func (r *Root) SignIntermediate(ctx context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	signer, err := r.manager.signer(r.key)
	if err != nil {
		return nil, fmt.Errorf("opening the root's key: %w", err)
	}
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{
		Anchor: r.anchor, AnchorSigner: signer, CSR: csr, Policy: r.manager.c.Policy, Request: p,
	})
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{cert}, nil
}
