package ca_test

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

// stuckKeys is a key store that cannot destroy, such as a read-only directory.
type stuckKeys struct{ *fakeKeys }

func (stuckKeys) Destroy(context.Context, string) error { return errors.New("read-only file system") }

// failingEvents is an event log that is full.
type failingEvents struct{}

func (failingEvents) Append(context.Context, ca.Event) error {
	return errors.New("no space left on device")
}

// lastEvent is an event log that keeps the last event.
type lastEvent struct{ ca.Event }

func (l *lastEvent) Append(_ context.Context, e ca.Event) error {
	l.Event = e
	return nil
}

// with is w's custodian over other parts.
func (w *custodyWorld) with(t *testing.T, change func(*ca.CustodianConfig)) *ca.Custodian {
	t.Helper()
	c := ca.CustodianConfig{
		TrustDomain: w.root.c.Domain, Roots: ca.OneOf(w.root), Keys: w.keys, State: w.store, Events: w.events, Policy: w.root.c.FIPS,
	}
	change(&c)
	custodian, err := ca.NewCustodian(c)
	require.NoError(t, err)
	return custodian
}

func TestHalfMadeKeyThatCannotBeRemovedStopsNoIssuing(t *testing.T) {
	w := newCustody(t)
	first, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	w.root.err = errors.New("unreachable")
	_, err = w.Tick(t.Context(), catest.Start.Add(84*time.Hour), false)
	require.Error(t, err) // and leaves its key behind

	stuck := w.with(t, func(c *ca.CustodianConfig) { c.Keys = stuckKeys{w.keys} })
	supply, err := stuck.Tick(t.Context(), catest.Start.Add(85*time.Hour), false)
	require.ErrorContains(t, err, "read-only file system")
	require.NotNil(t, supply.Intermediate, "the intermediate in force lives for days")
	require.Equal(t, first.Intermediate.KeyID(), supply.Intermediate.KeyID())
	w.check(t)
}

// A clock that was years ahead for a moment made an intermediate that begins in
// years; the custodian must not wait until then.
func TestIntermediateOfAClockThatWasAheadIsReplaced(t *testing.T) {
	w := newCustody(t)
	_, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	ahead, err := w.Tick(t.Context(), catest.Start.AddDate(2, 0, 0), false)
	require.NoError(t, err)
	require.True(t, ahead.Renewed)

	now := catest.Start.Add(time.Minute)
	require.True(t, ahead.Due(now))
	back, err := w.Tick(t.Context(), now, false)
	require.NoError(t, err)
	require.True(t, back.Renewed)
	require.False(t, back.Due(now))
	require.False(t, back.Intermediate.Certificate().NotBefore.After(now))
	w.check(t)
}

// A machine without a battery begins in 1970: no anchor is of that time, so the
// clock is wrong and the intermediate is not.
func TestClockBeforeTheAnchorReplacesNothing(t *testing.T) {
	w := newCustody(t)
	first, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	then := time.Unix(0, 0)
	require.False(t, first.Due(then))
	supply, err := w.Tick(t.Context(), then, false)
	require.NoError(t, err)
	require.Equal(t, first.Intermediate.KeyID(), supply.Intermediate.KeyID())
}

func TestRenewalWhoseEventIsLostIsInForceAllTheSame(t *testing.T) {
	w := newCustody(t)
	_, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	deaf := w.with(t, func(c *ca.CustodianConfig) { c.Events = failingEvents{} })
	supply, err := deaf.Tick(t.Context(), catest.Start.Add(84*time.Hour), false)
	require.ErrorContains(t, err, "no space left")
	state, _, err := w.store.Load(t.Context())
	require.NoError(t, err)
	stored := state.Intermediates[len(state.Intermediates)-1]
	require.Equal(t, stored.Chain[0], supply.Intermediate.Certificate().Raw, "a retired intermediate signs no more")
	require.True(t, supply.Renewed)
}

func TestRenewalSaysWhichKeyDidNotOpen(t *testing.T) {
	w := newCustody(t)
	_, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	clear(w.keys.keys)
	last := &lastEvent{}
	supply, err := w.with(t, func(c *ca.CustodianConfig) { c.Events = last }).Tick(t.Context(), catest.Start.Add(time.Hour), false)
	require.NoError(t, err)
	require.True(t, supply.Renewed)
	require.Equal(t, "intermediate.renew", last.Action)
	require.Contains(t, last.Detail["because"], "opening key")
}

func TestStateOfAnotherTrustDomainIsNotTouched(t *testing.T) {
	w := newCustody(t)
	_, before, err := w.store.Load(t.Context())
	require.NoError(t, err)
	other, err := ca.ParseTrustDomain("example.net")
	require.NoError(t, err)
	supply, err := w.with(t, func(c *ca.CustodianConfig) { c.TrustDomain = other }).Tick(t.Context(), catest.Start, true)
	require.ErrorIs(t, err, ca.ErrForeignState)
	require.ErrorContains(t, err, "that of cluster.local, and example.net was asked for")
	require.Zero(t, supply)
	_, after, err := w.store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// It would be renewed at every tick, and leave a retired key behind each time.
func TestRootThatSignsUnderTheStandbyRenewsNothing(t *testing.T) {
	c := catest.New(t)
	w := newCustodyOf(t, c)
	first, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	right := w.root.c
	w.root.c = &catest.CA{Domain: c.Domain, Root: c.Standby, RootKey: c.StandbyKey, FIPS: c.FIPS}
	for _, row := range []struct {
		after  time.Duration
		force  bool
		claims *x509.Certificate // that it is the active one, and signs under the standby
	}{{time.Hour, true, nil}, {84 * time.Hour, false, nil}, {85 * time.Hour, false, nil}, {85 * time.Hour, false, c.Root}} {
		w.root.claims = row.claims
		supply, err := w.Tick(t.Context(), catest.Start.Add(row.after), row.force)
		require.ErrorContains(t, err, ca.AnchorIDOf(c.Standby).String()+" (standby)")
		require.ErrorContains(t, err, ca.AnchorIDOf(c.Root).String()+" signs in bundle 1")
		require.False(t, supply.Renewed)
		require.Equal(t, first.Intermediate.KeyID(), supply.Intermediate.KeyID())
		require.Zero(t, supply.Retired)
		w.check(t)
	}
	w.root.c, w.root.claims = right, nil
	supply, err := w.Tick(t.Context(), catest.Start.Add(86*time.Hour), false)
	require.NoError(t, err)
	require.True(t, supply.Renewed)
	w.check(t)
}

// A root that was issued again on its key is another anchor. What it signs is under
// the active one of the two, whichever has the lower id, and so is not due at once.
func TestOfTwoAnchorsWithOneKeyTheActiveOneSigns(t *testing.T) {
	c := catest.New(t)
	again, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: c.Domain, NotBefore: catest.Start.Add(-time.Hour), NotAfter: catest.Start.Add(ca.RootLifetime),
		Signer: c.RootKey, Policy: c.FIPS,
	})
	require.NoError(t, err)
	for _, slots := range [][2]ca.Slot{{ca.SlotDraining, ca.SlotActive}, {ca.SlotActive, ca.SlotDraining}} {
		c.Bundle, err = ca.NewBundle(c.Domain, 1, []ca.Anchor{{Certificate: c.Root, Slot: slots[0]}, {Certificate: again, Slot: slots[1]}})
		require.NoError(t, err)
		w := newCustodyOf(t, c)
		first, err := w.Tick(t.Context(), catest.Start, false)
		require.NoError(t, err)
		require.Equal(t, c.Bundle.Active(), first.Intermediate.Anchor())
		next, err := w.Tick(t.Context(), catest.Start.Add(time.Minute), false)
		require.NoError(t, err)
		require.False(t, next.Renewed)
	}
}

// unreachableKeys is a key store in a server that is down, or one that lost a key.
type unreachableKeys struct {
	*fakeKeys
	err error
}

func (k unreachableKeys) Open(context.Context, string) (ca.Key, error) { return nil, k.err }

// A start while the server that seals the keys is down must not throw away an
// intermediate that lives.
func TestKeyStoreThatIsOutOfReachCostsNoIntermediate(t *testing.T) {
	w := newCustody(t)
	first, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	for _, reason := range []ca.Reason{ca.ReasonRootSealed, ca.ReasonRootUnreachable, ca.ReasonRootTimeout, ca.ReasonRootDenied, ca.ReasonRootUnavailable} {
		down := w.with(t, func(c *ca.CustodianConfig) { c.Keys = unreachableKeys{w.keys, ca.Refuse(reason, "down")} })
		supply, err := down.Tick(t.Context(), catest.Start.Add(time.Hour), false)
		require.Equal(t, reason, ca.ReasonOf(err))
		require.Nil(t, supply.Intermediate)
		require.NotNil(t, supply.Bundle)
	}
	back, err := w.Tick(t.Context(), catest.Start.Add(2*time.Hour), false)
	require.NoError(t, err)
	require.False(t, back.Renewed)
	require.Equal(t, first.Intermediate.KeyID(), back.Intermediate.KeyID())

	lost := w.with(t, func(c *ca.CustodianConfig) { c.Keys = unreachableKeys{w.keys, ca.Refuse(ca.ReasonNotFound, "gone")} })
	supply, err := lost.Tick(t.Context(), catest.Start.Add(3*time.Hour), false)
	require.NoError(t, err)
	require.True(t, supply.Renewed, "a key that is lost is replaced")
	w.check(t)
}

// replacedRoot is a root that somebody replaced where it is kept.
type replacedRoot struct {
	anchor *x509.Certificate
	asked  int
}

func (r *replacedRoot) Anchor(context.Context) (*x509.Certificate, error) { return r.anchor, nil }

func (r *replacedRoot) SignIntermediate(context.Context, []byte, ca.IntermediateRequest) ([]*x509.Certificate, error) {
	r.asked++
	return nil, errors.New("it must not be asked")
}

// A root that is another than the active anchor must not be made to sign: each
// certificate under it would be one more that nobody wanted.
func TestRootThatWasReplacedIsNotAskedToSign(t *testing.T) {
	w := newCustody(t)
	first, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	root := &replacedRoot{anchor: catest.New(t).Root}
	replaced := w.with(t, func(c *ca.CustodianConfig) { c.Roots = ca.OneOf(root) })
	supply, err := replaced.Tick(t.Context(), catest.Start.Add(84*time.Hour), false)
	require.Equal(t, ca.ReasonRootMismatch, ca.ReasonOf(err), "%v", err)
	require.ErrorContains(t, err, "in no bundle")
	require.Zero(t, root.asked)
	require.Equal(t, first.Intermediate.KeyID(), supply.Intermediate.KeyID())
	w.check(t)
}
