package ca_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

// docs/certificate-spec.md: the URI is the trust domain's, without a path. An
// intermediate of another domain would sign leaves that verifiers refuse.
func TestIntermediateOfAnotherTrustDomainIsRefused(t *testing.T) {
	w := newCustody(t)
	other, err := ca.ParseTrustDomain("elsewhere.example")
	require.NoError(t, err)
	w.root.change = func(p *ca.IntermediateRequest) { p.TrustDomain = other }
	supply, err := w.Tick(t.Context(), catest.Start, false)
	require.ErrorContains(t, err, "trust domain")
	require.Nil(t, supply.Intermediate)
	w.check(t)
}
