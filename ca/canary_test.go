package ca_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// canaryRoot is a root of the world h; asked counts what it signed.
type canaryRoot struct {
	t      testing.TB
	anchor *x509.Certificate
	key    crypto.Signer
	policy fips.Policy
	asked  int
	err    error
	spoil  func(*ca.IntermediateSigning)
}

func (r *canaryRoot) Anchor(context.Context) (*x509.Certificate, error) { return r.anchor, nil }

func (r *canaryRoot) SignIntermediate(_ context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	r.asked++
	if r.err != nil {
		return nil, r.err
	}
	signing := ca.IntermediateSigning{Anchor: r.anchor, AnchorSigner: r.key, CSR: csr, Policy: r.policy, Request: p}
	if r.spoil != nil {
		r.spoil(&signing)
	}
	cert, err := ca.SignIntermediate(signing)
	return []*x509.Certificate{cert}, err
}

func newCanary(t testing.TB, h holders) (*ca.Canary, *canaryRoot) {
	t.Helper()
	root := &canaryRoot{t: t, anchor: h.Standby, key: h.StandbyKey, policy: h.FIPS}
	c, err := ca.NewCanary(t.Context(), h.Authority, root, h.Domain)
	require.NoError(t, err)
	return c, root
}

func parseLeaf(t testing.TB, leaf ca.CanaryLeaf) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range leaf.Chain {
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		chain = append(chain, cert)
	}
	return chain
}

func TestACanaryIsALeafOfFiveMinutesUnderAnAnchorThatSignsNothingElse(t *testing.T) {
	h := newHolders(t)
	c, root := newCanary(t, h)
	standby := ca.AnchorIDOf(h.Standby)
	require.Equal(t, standby, c.Anchor())
	_, err := c.Leaf(h.Clock.Now())
	require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(err))

	require.NoError(t, c.Tick(t.Context(), h.Clock.Now()))
	leaf, err := c.Leaf(h.Clock.Now())
	require.NoError(t, err)
	chain := parseLeaf(t, leaf)
	require.NoError(t, ca.CheckCanary(chain, h.Bundle, standby, h.Clock.Now()))
	require.Equal(t, h.Clock.Now().Add(5*time.Minute), leaf.NotAfter)
	require.True(t, fips.PublicKeyEqual(chain[0].PublicKey, leaf.Signer.Public()))
	require.Equal(t, []string{ca.CanaryName(standby)}, chain[0].DNSNames)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, chain[0].ExtKeyUsage)
	require.Equal(t, time.Hour, chain[1].NotAfter.Sub(h.Clock.Now()))
	require.Equal(t, h.Intermediate, h.Authority.Intermediate(), "workloads have theirs")
	require.Equal(t, 1, root.asked)

	records := h.Recorder.Records()
	require.Len(t, records, 1)
	require.Equal(t, "spiffe://cluster.local/kedge/canary", records[0].Identity)
	require.Equal(t, ca.MethodLocal, records[0].Evidence.Method)
	require.Equal(t, standby, records[0].Anchor)
	require.Equal(t, ca.Outstanding{
		Coverage: map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: 1}},
		Live:     map[ca.AnchorID]int{standby: 1}, HighWater: map[ca.AnchorID]time.Time{standby: leaf.NotAfter},
	}, h.outstanding())
}

func TestACanaryRenewsAtHalfLifeAndItsIntermediateBeforeItsEnd(t *testing.T) {
	h := newHolders(t)
	c, root := newCanary(t, h)
	leaves := make(map[time.Time]bool)
	for range 120 {
		require.NoError(t, c.Tick(t.Context(), h.Clock.Now()))
		leaf, err := c.Leaf(h.Clock.Now())
		require.NoError(t, err)
		require.NoError(t, ca.CheckCanary(parseLeaf(t, leaf), h.Bundle, c.Anchor(), h.Clock.Now()))
		leaves[leaf.NotAfter] = true
		h.Clock.Advance(time.Minute)
	}
	require.Len(t, leaves, 40, "one in three minutes")
	require.Equal(t, 3, root.asked, "one in 50 minutes")
	h.Clock.Advance(ca.CanaryTTL)
	_, err := c.Leaf(h.Clock.Now())
	require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(err), "what has ended is not presented")
}

func TestACanaryIsNotMade(t *testing.T) {
	rows := map[string]struct {
		spoil  func(h holders, r *canaryRoot)
		reason ca.Reason
	}{
		"while issuance is halted":    {func(h holders, _ *canaryRoot) { h.Authority.Halt("a test") }, ca.ReasonHalted},
		"when its record is not kept": {func(h holders, _ *canaryRoot) { h.Recorder.Fail = func(ca.Record) error { return errors.New("full") } }, ca.ReasonRecordFailed},
		"when the root is away":       {func(_ holders, r *canaryRoot) { r.err = errors.New("away") }, ca.ReasonRootUnavailable},
		"by a root of another anchor": {func(h holders, r *canaryRoot) { r.spoil = under(h.Root, h.RootKey) }, ca.ReasonRootMismatch},
		"by a root that gives too much": {func(_ holders, r *canaryRoot) {
			r.spoil = func(s *ca.IntermediateSigning) { s.Request.NotAfter = s.Request.NotAfter.Add(time.Hour) }
		}, ca.ReasonRootMismatch},
		"under an anchor that nobody has": {func(h holders, _ *canaryRoot) {
			alone, err := ca.NewBundle(h.Domain, 2, []ca.Anchor{{Certificate: h.Root, Slot: ca.SlotActive}})
			require.NoError(h.t, err)
			_, err = h.Authority.Swap(h.Intermediate, alone)
			require.NoError(h.t, err)
		}, ca.ReasonNotReady},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			h := newHolders(t)
			c, root := newCanary(t, h)
			row.spoil(h, root)
			err := c.Tick(t.Context(), h.Clock.Now())
			require.Equal(t, row.reason, ca.ReasonOf(err), "%v", err)
			_, err = c.Leaf(h.Clock.Now())
			require.Error(t, err)
		})
	}
}

func under(anchor *x509.Certificate, key crypto.Signer) func(*ca.IntermediateSigning) {
	return func(s *ca.IntermediateSigning) { s.Anchor, s.AnchorSigner = anchor, key }
}

func TestACanaryIsHeldToItsAnchorAndItsName(t *testing.T) {
	h := newHolders(t)
	c, _ := newCanary(t, h)
	require.NoError(t, c.Tick(t.Context(), h.Clock.Now()))
	leaf, err := c.Leaf(h.Clock.Now())
	require.NoError(t, err)
	chain, now, standby := parseLeaf(t, leaf), h.Clock.Now(), ca.AnchorIDOf(h.Standby)
	alone, err := ca.NewBundle(h.Domain, 2, []ca.Anchor{{Certificate: h.Root, Slot: ca.SlotActive}})
	require.NoError(t, err)
	workload := h.issue("workload", 0, byToken)
	rows := []struct {
		name   string
		chain  []*x509.Certificate
		held   *ca.Bundle
		anchor ca.AnchorID
		at     time.Time
		want   string
	}{
		{"nothing presented", nil, h.Bundle, standby, now, "no certificate"},
		{"an anchor that is not held", chain, alone, standby, now, "is not in bundle 2"},
		{"under another anchor", chain, h.Bundle, ca.AnchorIDOf(h.Root), now, "does not verify"},
		{"without its intermediate", chain[:1], h.Bundle, standby, now, "does not verify"},
		{"after its end", chain, h.Bundle, standby, now.Add(ca.CanaryTTL + time.Second), "does not verify"},
		{"a workload's leaf", parseLeaf(t, ca.CanaryLeaf{Chain: append([][]byte{workload.Leaf}, workload.Chain...)}), h.Bundle, ca.AnchorIDOf(h.Root), now, "does not verify"},
		{"a server's of that name", namedLeaf(t, h, ca.CanaryName(ca.AnchorIDOf(h.Root))), h.Bundle, ca.AnchorIDOf(h.Root), now, "another certificate"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			require.ErrorContains(t, ca.CheckCanary(row.chain, row.held, row.anchor, row.at), row.want)
		})
	}
}

// namedLeaf is a leaf of a workload whose profile grants it name.
func namedLeaf(t *testing.T, h holders, name string) []*x509.Certificate {
	t.Helper()
	profile, err := ca.NewProfile(ca.ProfileConfig{Name: "host", DNSNames: []string{name}})
	require.NoError(t, err)
	policy, err := ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: h.Domain, Profiles: []*ca.Profile{profile}, Rules: []ca.RuleConfig{{Name: "host", Profile: "host"}},
	})
	require.NoError(t, err)
	h.Authority.SetPolicy(policy)
	issued := h.issue("host", 0, byToken)
	return parseLeaf(t, ca.CanaryLeaf{Chain: append([][]byte{issued.Leaf}, issued.Chain...)})
}

// TestACanaryInFlightIsBounded: one that is not signed yet counts under its anchor,
// for as long as a canary can live and no longer.
func TestACanaryInFlightIsBounded(t *testing.T) {
	h := newHolders(t)
	c, _ := newCanary(t, h)
	var during ca.Outstanding
	h.Recorder.Fail = func(ca.Record) error {
		during = h.Authority.Outstanding(h.Clock.Now())
		return nil
	}
	require.NoError(t, c.Tick(t.Context(), h.Clock.Now()))
	require.Equal(t, map[ca.AnchorID]int{c.Anchor(): 1}, during.Live)
	require.Equal(t, map[ca.AnchorID]time.Time{c.Anchor(): catest.Start.Add(ca.CanaryTTL + time.Minute)}, during.HighWater)
	require.EqualValues(t, 1, during.Coverage[ca.ClassRenewal].Sequence)
}
