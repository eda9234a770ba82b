package zones_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

func TestReplicaJoinsWithATokenAndNothingElse(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	w.publish(t, w.site.Republish(t)) // the primary goes on while the token is on its way
	r := w.newReplica(t)
	m, err := r.join("a", token)
	require.NoError(t, err)
	require.Equal(t, rotation.Zone("eu-1"), m.Zone)
	require.Equal(t, w.newest.Hash(), m.Bundle.Hash())
	require.Equal(t, w.chain[1], m.Signed)
	require.Equal(t, "a", w.replicas[r.keyHash()])

	again, err := r.join("a", token)
	require.NoError(t, err, "the answer may have been lost")
	require.Equal(t, m.Zone, again.Zone)
	_, err = w.newReplica(t).join("b", token)
	requireReason(t, ca.ReasonZoneTokenUsed, err)
}

func TestTokenThatIsNoneIsRefusedBeforeAnybodyIsAsked(t *testing.T) {
	w := newWorld(t)
	good := w.token()
	for name, token := range map[string]string{
		"nothing":              "",
		"another secret":       "kedge-join-" + strings.TrimPrefix(good, "kedge-zone-"),
		"half of it":           good[:len(good)-2],
		"without its hash":     strings.TrimSuffix(good, "."+hashOf(good)),
		"without its secret":   "kedge-zone-" + "." + hashOf(good),
		"a hash that is none":  good[:len(good)-2] + "zz",
		"with a space at last": good + " ",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.newReplica(t).join("a", token)
			requireReason(t, ca.ReasonZoneToken, err)
		})
	}
	require.Zero(t, w.joins)
}

func TestTokenOfAnotherPrimaryIsNotShownToThisOne(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	_, err := w.newReplica(t).join("a", other.token())
	requireReason(t, ca.ReasonBundleForked, err)
	require.Zero(t, w.joins)
}

// Whoever is between hands on the chain, which is no secret, and has no certificate
// under its anchors.
func TestTokenIsShownToAVerifiedPrimaryOnly(t *testing.T) {
	w := newWorld(t)
	w.own = certificate(t, apitest.New(t, apitest.Options{}), "/kedge/ca")
	_, err := w.newReplica(t).join("a", w.token())
	requireReason(t, ca.ReasonPrimaryUntrusted, err)
	require.Zero(t, w.joins)
}

func TestTrustDomainOfThePrimaryHasToBeTheConfigured(t *testing.T) {
	w := newWorld(t)
	r := w.newReplica(t)
	other, err := ca.ParseIdentity("spiffe://example.org/kedge/ca")
	require.NoError(t, err)
	r.c.Primary = other
	_, err = r.join("a", w.token())
	requireReason(t, ca.ReasonBundleForeign, err)
	require.Zero(t, w.joins)
}

func TestPrimaryThatIsAwayIsNamed(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	w.stop()
	_, err := w.newReplica(t).join("a", token)
	requireReason(t, ca.ReasonPrimaryAway, err)
}
