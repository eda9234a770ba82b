package kms

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"

	"go.step.sm/crypto/kms/apiv1"

	"github.com/kedge-ca/kedge/ca"
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
	if err := checkURI(key); err != nil {
		return nil, err
	}
	signer, err := m.signer(key)
	if err != nil {
		return nil, fmt.Errorf("opening the root's key: %w", err)
	}
	if !fips.PublicKeyEqual(signer.Public(), anchor.PublicKey) {
		return nil, fmt.Errorf("the root's key %s is not that of the certificate %q", key, anchor.Subject.CommonName)
	}
	if d := m.c.Policy.CheckKey(signer.Public(), fips.UseCA, anchor.NotAfter); !d.Allow {
		return nil, fmt.Errorf("the root's key: %s: %s", d.Code, d.Detail)
	}
	return &Root{manager: m, key: key, anchor: anchor}, nil
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
