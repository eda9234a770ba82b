package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
)

func newRootCommand(a *app) *cobra.Command {
	var path string
	var create bool
	cmd := &cobra.Command{
		Use:   "root",
		Short: "Write the certificate of a root whose key is in the token",
		Long: `Writes kms.root_certificate: a self-signed trust anchor of ten years for
kms.root_key. With --create the key is made first, of the type kms.key_type; nothing
that exists is replaced, neither a key nor a file.`,
		Example: "  ca-upstream root --config /etc/kedge/upstream.yaml --create",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path)
			if err != nil {
				return err
			}
			return a.writeRoot(cmd.Context(), c, create)
		},
	}
	cmd.Flags().StringVar(&path, "config", "/etc/kedge/upstream.yaml", "configuration file")
	cmd.Flags().BoolVar(&create, "create", false, "make the key in the token")
	return cmd
}

func (a *app) writeRoot(ctx context.Context, c config, create bool) (err error) {
	if c.KMS.RootKey == "" {
		return fmt.Errorf("the configuration names no kms.root_key")
	}
	if err := harden(); err != nil {
		return err
	}
	_, policy, err := a.startModule(c.Profile)
	if err != nil {
		return err
	}
	domain, err := ca.ParseTrustDomain(c.TrustDomain)
	if err != nil {
		return err
	}
	manager, err := c.KMS.open(ctx, policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, manager.Close()) }()
	if create {
		if err := manager.CreateRootKey(ctx, c.KMS.RootKey, fips.KeyType(c.KMS.KeyType)); err != nil {
			return fmt.Errorf("kms.root_key: %w", err)
		}
	}
	signer, err := manager.Signer(c.KMS.RootKey, nil)
	if err != nil {
		return fmt.Errorf("kms.root_key: %w", err)
	}
	now := a.now()
	anchor, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.RootLifetime), Signer: signer, Policy: policy,
	})
	if err != nil {
		return err
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: anchor.Raw})
	if err := secretfile.CreatePublic(c.KMS.RootCertificate, encoded); err != nil {
		return fmt.Errorf("kms.root_certificate: %w", err)
	}
	fmt.Fprintf(a.stdout, "wrote %s: %s, until %s\n", c.KMS.RootCertificate, anchor.Subject.CommonName, anchor.NotAfter.UTC().Format("2006-01-02"))
	return nil
}
