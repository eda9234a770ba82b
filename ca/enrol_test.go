package ca_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

func TestReplicaBeginsWithTheBundleThatItHasJoinedWith(t *testing.T) {
	w := newFollower(t)
	store := &catest.StateStore{}
	zone := w.with(t, func(c *ca.CustodianConfig) { c.State = store })
	bundle, err := ca.NewBundle(w.c.Domain, 7, w.c.Bundle.Anchors())
	require.NoError(t, err)
	require.Error(t, zone.Enrol(t.Context(), catest.Start, ca.Adoption{Bundle: bundle}), "without its signed form")
	require.NoError(t, zone.Enrol(t.Context(), catest.Start, ca.Adoption{Bundle: bundle, Signed: []byte("signed")}))

	supply, err := zone.Tick(t.Context(), catest.Start.Add(time.Minute), false)
	require.NoError(t, err)
	require.EqualValues(t, 7, supply.Bundle.Sequence())
	require.NotNil(t, supply.Intermediate)
	held, err := zone.Held(t.Context())
	require.NoError(t, err)
	require.Equal(t, []byte("signed"), held.Signed)

	err = zone.Enrol(t.Context(), catest.Start, ca.Adoption{Bundle: bundle, Signed: []byte("other")})
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err))
}

func TestReplicaDoesNotBeginWithABundleOfAnotherTrustDomain(t *testing.T) {
	w := newFollower(t)
	other, err := ca.ParseTrustDomain("example.net")
	require.NoError(t, err)
	zone := w.with(t, func(c *ca.CustodianConfig) { c.State, c.TrustDomain = &catest.StateStore{}, other })
	err = zone.Enrol(t.Context(), catest.Start, ca.Adoption{Bundle: w.c.Bundle, Signed: []byte("signed")})
	require.Equal(t, ca.ReasonBundleForeign, ca.ReasonOf(err))
}
