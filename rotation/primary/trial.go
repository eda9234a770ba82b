package primary

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// trial is the test of a root before anybody relies on it.
type trial struct {
	policy fips.Policy
	domain ca.TrustDomain
	root   ca.Root
	bundle *ca.Bundle // of its anchor alone
}

// run has the root sign an intermediate for a key that is thrown away.
func (t trial) run(ctx context.Context, now time.Time) error {
	key, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		return err
	}
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return fmt.Errorf("making the request of the self-test: %w", err)
	}
	chain, err := t.root.SignIntermediate(ctx, csr, ca.IntermediateRequest{
		TrustDomain: t.domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		return fmt.Errorf("self-test of the new root: %w", err)
	}
	i, err := ca.NewIntermediate(ca.IntermediateConfig{Chain: chain, Bundle: t.bundle, Signer: key, Policy: t.policy})
	if err != nil {
		return &ca.Error{Reason: ca.ReasonRootMismatch, Err: fmt.Errorf("self-test of the new root: %w", err)}
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err = i.Certificate().Verify(x509.VerifyOptions{Roots: t.bundle.Pool(), Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return &ca.Error{Reason: ca.ReasonRootMismatch, Err: fmt.Errorf("self-test of the new root: %w", err)}
	}
	return nil
}
