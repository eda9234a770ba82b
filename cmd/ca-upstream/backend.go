package main

import (
	"context"
	"crypto"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/cmd/ca-upstream/cas"
	"github.com/kedge-ca/kedge/cmd/ca-upstream/kms"
	"github.com/kedge-ca/kedge/fips"
)

// backend is what is served.
type backend struct {
	root     ca.Root            // nil if there is none
	keys     ca.KeyStore        // nil if there are none
	rootKeys []crypto.PublicKey // that must not sign digests
	close    func() error
}

// openBackend opens what c names.
func (a *app) openBackend(ctx context.Context, c config, policy fips.Policy) (*backend, error) {
	b := &backend{close: func() error { return nil }}
	manager, err := c.KMS.open(ctx, policy)
	if err != nil {
		return nil, err
	}
	if manager != nil {
		b.close = manager.Close
	}
	if err := a.fill(b, c, manager); err != nil {
		_ = b.close() // the first error counts
		return nil, err
	}
	return b, nil
}

func (a *app) fill(b *backend, c config, manager *kms.Manager) error {
	if c.KMS.RootKey != "" {
		chain, err := readChain(c.KMS.RootCertificate)
		if err != nil {
			return fmt.Errorf("kms.root_certificate: %w", err)
		}
		if len(chain) != 1 {
			return fmt.Errorf("kms.root_certificate: %s holds %d certificates, want one", c.KMS.RootCertificate, len(chain))
		}
		root, err := manager.Root(c.KMS.RootKey, chain[0])
		if err != nil {
			return fmt.Errorf("kms.root_key: %w", err)
		}
		b.root, b.rootKeys = root, []crypto.PublicKey{chain[0].PublicKey}
	}
	if c.CAS.Type != "" {
		root, err := a.openCAS(b, c.CAS, manager)
		if err != nil {
			return fmt.Errorf("cas: %w", err)
		}
		b.root = root
	}
	if c.KMS.Keys != "" {
		keys, err := manager.Keys(c.KMS.Keys, fips.KeyType(c.KMS.KeyType))
		if err != nil {
			return fmt.Errorf("kms.keys: %w", err)
		}
		b.keys = keys
	}
	return nil
}

func (a *app) openCAS(b *backend, c casConfig, manager *kms.Manager) (ca.Root, error) {
	o := cas.Config{
		Type: c.Type, Authority: c.Authority, Fingerprint: c.Fingerprint, CredentialsFile: c.CredentialsFile, Now: a.now,
	}
	if c.Key != "" {
		chain, err := readChain(c.Chain)
		if err != nil {
			return nil, fmt.Errorf("chain: %w", err)
		}
		signer, err := manager.Signer(c.Key, chain[0])
		if err != nil {
			return nil, err
		}
		o.Chain, o.Signer = chain, signer
		for _, issuer := range chain {
			b.rootKeys = append(b.rootKeys, issuer.PublicKey)
		}
	}
	if i := c.Issuer; i != nil {
		password, err := readSecret(i.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("issuer: %w", err)
		}
		o.Issuer = &cas.Issuer{
			Type: i.Type, Provisioner: i.Provisioner, Certificate: i.Certificate, Key: i.Key, Password: string(password),
		}
	}
	return cas.New(o)
}

// open connects to the service; nil where none is named.
func (c kmsConfig) open(ctx context.Context, policy fips.Policy) (*kms.Manager, error) {
	if c.URI == "" {
		return nil, nil //nolint:nilnil // none is named
	}
	password, err := readSecret(c.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	return kms.Open(ctx, kms.Config{URI: c.URI, Password: password, Policy: policy})
}
