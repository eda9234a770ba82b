package zones_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/zones"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
)

func TestReplicaHearsOfEachChange(t *testing.T) {
	w := newWorld(t)
	r, c := w.joined(t, "a")
	have := r.have()

	w.publish(t, w.site.Republish(t))
	d, err := c.Follow(within(t), have)
	require.NoError(t, err)
	require.Equal(t, "a", d.Plan, "who asks follows from the key")
	r.held, err = r.held.Replay(d.Bundles)
	require.NoError(t, err)
	require.EqualValues(t, 2, r.held.Bundle().Sequence())
	require.Zero(t, d.Command)
	have.Sequence = 2

	command := ca.Command{Signer: ca.AnchorIDOf(w.site.CA.Standby), Epoch: 7}
	w.change(func() { w.command = command })
	d, err = c.Follow(within(t), have)
	require.NoError(t, err)
	require.Equal(t, command, d.Command)
	require.Empty(t, d.Bundles)
	have.Epoch = 7

	w.change(func() { w.halted = "compromise" })
	d, err = c.Follow(within(t), have)
	require.NoError(t, err)
	require.Equal(t, "compromise", d.Halted)
}

func TestStreamOutlivesTheCallThatBeganIt(t *testing.T) {
	w := newWorld(t)
	r, c := w.joined(t, "a")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Follow(short, r.have())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	w.change(func() { w.halted = "now" })
	d, err := c.Follow(within(t), r.have())
	require.NoError(t, err)
	require.Equal(t, "now", d.Halted)
}

// A replica whose disk was full asks again with what it had before.
func TestDirectiveThatWasNotTakenComesAgain(t *testing.T) {
	w := newWorld(t)
	r, c := w.joined(t, "a")
	w.change(func() { w.halted = "now" })
	for range 3 {
		d, err := c.Follow(within(t), r.have())
		require.NoError(t, err)
		require.Equal(t, "now", d.Halted)
	}
}

func TestStreamEndsWhenItsReplicaIsRemoved(t *testing.T) {
	w := newWorld(t)
	r, c := w.joined(t, "a")
	followed := make(chan error, 1)
	go func() {
		_, err := c.Follow(within(t), r.have())
		followed <- err
	}()
	w.change(func() { w.removed[r.keyHash()] = true })
	requireReason(t, ca.ReasonZoneRemoved, <-followed)
}

func TestKeyThatIsNotRegisteredIsRefusedEverythingButTheChain(t *testing.T) {
	w := newWorld(t)
	r := w.newReplica(t)
	r.held = w.newest
	c := r.client()
	_, err := c.Follow(within(t), r.have())
	requireReason(t, ca.ReasonZoneUnknown, err)
	requireReason(t, ca.ReasonZoneUnknown, c.Report(within(t), rotation.Report{}))
	root, err := c.RootFor(within(t), ca.AnchorIDOf(w.site.CA.Root))
	require.NoError(t, err)
	_, err = root.SignIntermediate(within(t), apitest.CSR(t, ""), intermediate(w))
	requireReason(t, ca.ReasonZoneUnknown, err)
	require.Empty(t, w.reports)
}

func TestReplicaGoesOnWhenItsPrimaryComesBack(t *testing.T) {
	w := newWorld(t)
	r, c := w.joined(t, "a")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Follow(short, r.have())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	w.stop()
	_, err = c.Follow(within(t), r.have())
	require.Error(t, err)
	_, err = c.Follow(within(t), r.have())
	requireReason(t, ca.ReasonPrimaryAway, err)
	requireReason(t, ca.ReasonPrimaryAway, c.Report(within(t), rotation.Report{}))

	w.halted = "while it was away"
	w.serve(t)
	require.Eventually(t, func() bool {
		d, err := c.Follow(within(t), r.have())
		return err == nil && d.Halted == "while it was away"
	}, 20*time.Second, time.Millisecond)
}

// Every anchor that the replica knows is gone, so it can verify nobody.
func TestReplicaThatSleptThroughEveryAnchorFindsBack(t *testing.T) {
	w := newWorld(t)
	r, c := w.joined(t, "a")
	for range 3 {
		w.publish(t, w.site.Republish(t))
		w.site.Rotate(t)
		w.publish(t, w.site.CA.Bundle)
	}
	w.own = certificate(t, w.site, "/kedge/ca")
	w.stop()
	w.serve(t)
	have := r.have()
	have.Halted = "before it slept"
	d := followUntil(t, c, have)
	require.Equal(t, primary.Directive{Bundles: w.chain[1:], Halted: "before it slept"}, d, "who was not verified may command nothing and lift no halt")
	newest, err := r.held.Replay(d.Bundles)
	require.NoError(t, err)
	r.held = newest
	have.Sequence = newest.Bundle().Sequence()
	d = followUntil(t, c, have)
	require.Empty(t, d.Bundles)
	require.Empty(t, d.Halted, "the primary itself lifts it")
}

// followUntil follows until it is answered: the connection of before may end first.
func followUntil(t *testing.T, c *zones.Client, have primary.Have) primary.Directive {
	t.Helper()
	for ctx := within(t); ; {
		d, err := c.Follow(ctx, have)
		if err == nil {
			return d
		}
		require.NoError(t, ctx.Err(), "%v", err)
	}
}

// A workload of the trust domain may have taken the primary's address.
func TestServerWithAnotherIdentityIsNoPrimary(t *testing.T) {
	w := newWorld(t)
	r, _ := w.joined(t, "a")
	other, err := ca.ParseIdentity(w.site.CA.Domain.URI() + "/ns/default/sa/web")
	require.NoError(t, err)
	r.c.Primary = other
	_, err = r.client().Follow(within(t), r.have())
	requireReason(t, ca.ReasonPrimaryUntrusted, err)
	require.ErrorContains(t, err, "/kedge/ca")
}
