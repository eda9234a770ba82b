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
)

// keyRoot signs under any anchor whose key is in memory.
type keyRoot struct {
	c    *catest.CA
	cert *x509.Certificate
	key  crypto.Signer
	err  error
}

func (r *keyRoot) Anchor(context.Context) (*x509.Certificate, error) { return r.cert, r.err }

func (r *keyRoot) SignIntermediate(_ context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{Anchor: r.cert, AnchorSigner: r.key, CSR: csr, Policy: r.c.FIPS, Request: p})
	return []*x509.Certificate{cert}, err
}

// followWorld is a replica whose active and standby anchors can both sign.
type followWorld struct {
	*custodyWorld
	c         *catest.CA
	custodian *ca.Custodian
	standby   *keyRoot
}

func newFollower(t *testing.T) *followWorld {
	t.Helper()
	c := catest.New(t)
	w := &followWorld{custodyWorld: newCustodyOf(t, c), c: c, standby: &keyRoot{c: c, cert: c.Standby, key: c.StandbyKey}}
	w.custodian = w.with(t, func(config *ca.CustodianConfig) { config.Roots = ca.OneOf(w.root, w.standby) })
	return w
}

func (w *followWorld) tick(t *testing.T, now time.Time) *ca.Intermediate {
	t.Helper()
	supply, err := w.custodian.Tick(t.Context(), now, false)
	require.NoError(t, err)
	return supply.Intermediate
}

func (w *followWorld) held(t *testing.T) ca.Held {
	t.Helper()
	h, err := w.custodian.Held(t.Context())
	require.NoError(t, err)
	return h
}

func TestReplicaSignsUnderTheAnchorItIsCommandedTo(t *testing.T) {
	w := newFollower(t)
	require.Equal(t, w.c.Root, w.tick(t, catest.Start).Anchor())
	to := ca.Command{Signer: ca.AnchorIDOf(w.c.Standby), Epoch: 4}
	require.NoError(t, w.custodian.Obey(t.Context(), catest.Start, to))
	require.Equal(t, to, w.held(t).Command)
	require.Zero(t, w.held(t).Followed, "it does not follow a command that it has only stored")

	require.Equal(t, w.c.Standby, w.tick(t, catest.Start).Anchor())
	require.EqualValues(t, 4, w.held(t).Followed)
	require.NoError(t, w.custodian.Obey(t.Context(), catest.Start, to), "the same again")

	back := ca.Command{Signer: ca.AnchorIDOf(w.c.Root), Epoch: 5}
	require.NoError(t, w.custodian.Obey(t.Context(), catest.Start, back))
	require.EqualValues(t, 4, w.held(t).Followed)
	require.Equal(t, w.c.Root, w.tick(t, catest.Start).Anchor())
	require.EqualValues(t, 5, w.held(t).Followed)
	require.Equal(t, []string{"bundle.create", "intermediate.renew", "rotation.command", "intermediate.renew", "rotation.command", "intermediate.renew"}, w.events.Actions())
}

func TestCommandThatChangesNothingIsFollowedAtOnce(t *testing.T) {
	w := newFollower(t)
	first := w.tick(t, catest.Start)
	require.NoError(t, w.custodian.Obey(t.Context(), catest.Start, ca.Command{Signer: ca.AnchorIDOf(w.c.Root), Epoch: 9}))
	require.EqualValues(t, 9, w.held(t).Followed)
	require.Equal(t, first.KeyID(), w.tick(t, catest.Start).KeyID())
}

func TestCommandIsRefused(t *testing.T) {
	w := newFollower(t)
	w.tick(t, catest.Start)
	require.NoError(t, w.custodian.Obey(t.Context(), catest.Start, ca.Command{Signer: ca.AnchorIDOf(w.c.Standby), Epoch: 4}))
	before := w.held(t)
	for name, command := range map[string]ca.Command{
		"overtaken":                         {Signer: ca.AnchorIDOf(w.c.Root), Epoch: 3},
		"two of one epoch":                  {Signer: ca.AnchorIDOf(w.c.Root), Epoch: 4},
		"to an anchor that nobody here has": {Signer: ca.AnchorID{1}, Epoch: 5},
	} {
		require.Equal(t, ca.ReasonStale, ca.ReasonOf(w.custodian.Obey(t.Context(), catest.Start, command)), name)
		require.Equal(t, before.Command, w.held(t).Command, name)
	}
}

// TestReplicaWaitsForTheRootOfItsCommand: it goes on under the anchor that it has.
func TestReplicaWaitsForTheRootOfItsCommand(t *testing.T) {
	w := newFollower(t)
	first := w.tick(t, catest.Start)
	require.NoError(t, w.custodian.Obey(t.Context(), catest.Start, ca.Command{Signer: ca.AnchorIDOf(w.c.Standby), Epoch: 1}))
	w.standby.err = errors.New("sealed")
	supply, err := w.custodian.Tick(t.Context(), catest.Start, false)
	require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err), "%v", err)
	require.Equal(t, first.KeyID(), supply.Intermediate.KeyID())
	require.Zero(t, w.held(t).Followed)
	require.True(t, supply.Due(catest.Start), "nobody sends the command again")
	w.standby.err = nil
	require.Equal(t, w.c.Standby, w.tick(t, catest.Start).Anchor())
}

func (w *followWorld) bundle(t *testing.T, sequence uint64, anchors ...ca.Anchor) ca.Adoption {
	t.Helper()
	b, err := ca.NewBundle(w.c.Domain, sequence, anchors)
	require.NoError(t, err)
	return ca.Adoption{Bundle: b, Signed: []byte{byte(sequence)}}
}

func TestReplicaAdoptsBundlesThatRiseOnly(t *testing.T) {
	w := newFollower(t)
	w.tick(t, catest.Start)
	both := []ca.Anchor{{Certificate: w.c.Root, Slot: ca.SlotActive}, {Certificate: w.c.Standby, Slot: ca.SlotStandby}}
	adopt := func(a ca.Adoption) error { return w.custodian.Adopt(t.Context(), catest.Start, a) }
	require.NoError(t, adopt(w.bundle(t, 1, both...)), "the signed form of what is held")
	require.Equal(t, []byte{1}, w.held(t).Signed)
	require.NoError(t, adopt(w.bundle(t, 3, both...)))
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(adopt(w.bundle(t, 2, both...))))
	require.EqualValues(t, 3, w.held(t).Bundle.Sequence())
	other := catest.New(t)
	foreign, err := ca.ParseTrustDomain("other.example")
	require.NoError(t, err)
	b, err := ca.NewBundle(foreign, 4, other.Bundle.Anchors())
	require.NoError(t, err)
	require.Equal(t, ca.ReasonBundleForeign, ca.ReasonOf(adopt(ca.Adoption{Bundle: b, Signed: []byte{4}})))
}

// TestReplicaWhoseAnchorLeavesTheBundleFollowsTheActiveOne: an emergency may drop an
// anchor that still signs.
func TestReplicaWhoseAnchorLeavesTheBundleFollowsTheActiveOne(t *testing.T) {
	w := newFollower(t)
	w.tick(t, catest.Start)
	require.NoError(t, w.custodian.Obey(t.Context(), catest.Start, ca.Command{Signer: ca.AnchorIDOf(w.c.Root), Epoch: 1}))
	only := w.bundle(t, 2, ca.Anchor{Certificate: w.c.Standby, Slot: ca.SlotActive})
	require.NoError(t, w.custodian.Adopt(t.Context(), catest.Start, only))
	require.Equal(t, w.c.Standby, w.tick(t, catest.Start).Anchor())
}

func TestHaltStopsIssuanceAndOutlivesARestart(t *testing.T) {
	w := newFollower(t)
	require.NoError(t, w.custodian.Halt(t.Context(), catest.Start, "drill"))
	require.Equal(t, "drill", w.held(t).Halted)
	w.c.Authority.Halt(w.held(t).Halted)
	require.Equal(t, ca.ReasonHalted, ca.ReasonOf(w.c.Authority.Ready(catest.Start)))
	require.NoError(t, w.custodian.Halt(t.Context(), catest.Start, ""))
	w.c.Authority.Halt(w.held(t).Halted)
	require.NoError(t, w.c.Authority.Ready(catest.Start))
	require.Equal(t, []string{"bundle.create", "issuance.halt", "issuance.resume"}, w.events.Actions())
}
