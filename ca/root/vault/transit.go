package vault

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
	transit "github.com/kedge-ca/kedge/ca/keystore/vault"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// TransitConfig names a root key in a transit engine and its certificate.
type TransitConfig struct {
	Client  *vault.Client
	Mount   string
	Key     string
	Version int                               // pinned, at least 1
	Anchor  func() (*x509.Certificate, error) // reads the root's certificate, which is kept here
	Policy  fips.Policy
}

// Transit signs here with a key in Vault. It implements ca.Root and is safe for
// concurrent use.
type Transit struct{ c TransitConfig }

var _ ca.Root = (*Transit)(nil)

// NewTransit checks c. It asks no server.
func NewTransit(c TransitConfig) (*Transit, error) {
	switch {
	case c.Client == nil || c.Anchor == nil:
		return nil, fmt.Errorf("root: it needs a connection to vault and a certificate")
	case c.Version < 1:
		return nil, fmt.Errorf("root: key version %d: pin the version that the certificate is for", c.Version)
	}
	if err := vault.CheckMount(c.Mount); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if err := vault.CheckName(c.Key); err != nil {
		return nil, fmt.Errorf("root: key: %w", err)
	}
	return &Transit{c: c}, nil
}

// Anchor implements ca.Root.
func (t *Transit) Anchor(context.Context) (*x509.Certificate, error) { return t.c.Anchor() }

// Key opens the root key and holds it to the certificate.
func (t *Transit) Key(ctx context.Context) (*transit.Key, *x509.Certificate, error) {
	anchor, err := t.c.Anchor()
	if err != nil {
		return nil, nil, err
	}
	key, err := transit.OpenKey(ctx, transit.KeyConfig{
		Client: t.c.Client, Mount: t.c.Mount, Name: t.c.Key, Version: t.c.Version, Public: anchor.PublicKey,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("root key: %w", err)
	}
	return key, anchor, nil
}

// Renew makes another certificate for the key, in the place of one that has expired:
// the repair of last resort, with no more rights than a server has.
func (t *Transit) Renew(ctx context.Context, domain ca.TrustDomain, now time.Time) (*x509.Certificate, error) {
	key, expired, err := t.Key(ctx)
	if err != nil {
		return nil, err
	}
	if now.Before(expired.NotAfter) {
		return nil, fmt.Errorf("the root lives until %s; use a rotation to replace it", expired.NotAfter.UTC().Format(time.RFC3339))
	}
	return ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.RootLifetime), Signer: key, Policy: t.c.Policy,
	})
}

// SignIntermediate implements ca.Root.
func (t *Transit) SignIntermediate(ctx context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	key, anchor, err := t.Key(ctx)
	if err != nil {
		return nil, err
	}
	if !p.NotBefore.Before(anchor.NotAfter) {
		return nil, fmt.Errorf("the root expired at %s", anchor.NotAfter)
	}
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{
		Anchor: anchor, AnchorSigner: key, CSR: csr, Policy: t.c.Policy, Request: p,
	})
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{cert}, nil
}
