package zones_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/zones"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/keystore/memory"
	"github.com/kedge-ca/kedge/fips"
)

func intermediate(w *world) ca.IntermediateRequest {
	now := time.Now()
	return ca.IntermediateRequest{TrustDomain: w.site.CA.Domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.IntermediateLifetime)}
}

func TestCustodianGetsItsIntermediateFromThePrimary(t *testing.T) {
	for _, skew := range []time.Duration{0, -4 * time.Minute, 4 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			w := newWorld(t)
			w.skew = skew
			_, c := w.joined(t, "a")
			keys, err := memory.New(fips.ECDSAP256)
			require.NoError(t, err)
			custodian, err := ca.NewCustodian(ca.CustodianConfig{
				TrustDomain: w.site.CA.Domain, Roots: c.RootFor, Keys: keys, State: &catest.StateStore{}, Events: &catest.Events{}, Policy: w.site.CA.FIPS,
			})
			require.NoError(t, err)
			require.NoError(t, custodian.Initialise(t.Context(), time.Now(), w.site.CA.Bundle.Anchors()))
			supply, err := custodian.Tick(t.Context(), time.Now(), false)
			require.NoError(t, err)
			require.Equal(t, w.site.CA.Root, supply.Intermediate.Anchor())
			require.False(t, supply.Due(time.Now()))
		})
	}
}

func TestPrimaryMustNotSignUnderAnotherAnchor(t *testing.T) {
	w := newWorld(t)
	_, c := w.joined(t, "a")
	root, err := c.RootFor(within(t), ca.AnchorIDOf(w.site.CA.Standby))
	require.NoError(t, err)
	_, err = root.SignIntermediate(within(t), apitest.CSR(t, ""), intermediate(w))
	requireReason(t, ca.ReasonZoneAnchor, err)

	nobody, err := c.RootFor(within(t), ca.AnchorID{1})
	require.NoError(t, err)
	_, err = nobody.Anchor(within(t))
	requireReason(t, ca.ReasonRootMismatch, err)
}

func TestIntermediateOfAClockThatIsFarOffIsRefused(t *testing.T) {
	for _, skew := range []time.Duration{-12 * time.Minute, 12 * time.Minute} {
		w := newWorld(t)
		w.skew = skew
		_, c := w.joined(t, "a")
		root, err := c.RootFor(within(t), ca.AnchorIDOf(w.site.CA.Root))
		require.NoError(t, err)
		_, err = root.SignIntermediate(within(t), apitest.CSR(t, ""), intermediate(w))
		requireReason(t, ca.ReasonRootMismatch, err)
	}
}

func TestReplicaKeyIsMadeOnceAndStays(t *testing.T) {
	keys, err := memory.New(fips.ECDSAP256)
	require.NoError(t, err)
	first, err := zones.OpenKey(t.Context(), keys)
	require.NoError(t, err)
	again, err := zones.OpenKey(t.Context(), keys)
	require.NoError(t, err)
	require.True(t, fips.PublicKeyEqual(first.Public(), again.Public()))
	require.Equal(t, zones.KeyName, again.Name())
}
