package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// Renewals that a rotation pulls forward come at the rate that was configured, and a
// new intermediate under the same anchor asks for none.
func TestReissueIsAskedForAtTheConfiguredRate(t *testing.T) {
	c := catest.New(t)
	for range 30 {
		_, err := c.Authority.Issue(t.Context(), c.Caller(t, "a"), c.Request(t, catest.GenerateKey(t, fips.ECDSAP256), ""))
		require.NoError(t, err)
	}
	standby := *c
	standby.Root, standby.RootKey = c.Standby, c.StandbyKey
	next := standby.NewIntermediate(t, catest.GenerateKey(t, fips.ECDSAP256))
	u := &upkeep{authority: c.Authority, reissue: 10, log: slog.New(slog.DiscardHandler)}
	u.askReissue(nil, c.Intermediate, c.Clock.Now())
	u.askReissue(c.Intermediate, c.NewIntermediate(t, catest.GenerateKey(t, fips.ECDSAP256)), c.Clock.Now())
	require.Zero(t, c.Authority.Reissue())
	u.askReissue(c.Intermediate, next, c.Clock.Now())
	require.Equal(t, ca.Reissue{Anchor: ca.AnchorIDOf(c.Standby), Over: 3 * time.Second}, c.Authority.Reissue())
}

// Workloads that live for minutes are no use to a rotation that waits a day for the
// server's own certificate.
func TestServerCertificateLivesNoLongerThanWorkloads(t *testing.T) {
	for name, row := range map[string]struct {
		profiles []profileConfig
		want     time.Duration
	}{
		"one of minutes":  {[]profileConfig{{Name: "workload", MaxTTL: duration(10 * time.Minute)}}, 10 * time.Minute},
		"the longest":     {[]profileConfig{{Name: "a", MaxTTL: duration(10 * time.Minute)}, {Name: "b", MaxTTL: duration(time.Hour)}}, time.Hour},
		"one of no limit": {[]profileConfig{{Name: "a", MaxTTL: duration(10 * time.Minute)}, {Name: "b"}}, ca.MaxLeafTTL},
		"none":            {nil, ca.MaxLeafTTL},
	} {
		require.Equal(t, row.want, (&config{Profiles: row.profiles}).longestLeaf(), name)
	}
}

// Tokens of machines that came and went would else fill the store for ever.
func TestJoinTokensGoAWeekAfterTheirEnd(t *testing.T) {
	s := newServer(t, makeSite(t, at(time.Now())))
	domain, err := s.config.domain()
	require.NoError(t, err)
	identity, err := ca.ParseIdentity(domain.URI() + "/vm/db-1")
	require.NoError(t, err)
	now := s.app.now()
	dead, late := [32]byte{1}, [32]byte{2}
	for hash, end := range map[[32]byte]time.Time{dead: now.Add(-keepTokens - time.Second), late: now.Add(-keepTokens + time.Second)} {
		require.NoError(t, s.store.CreateJoinToken(t.Context(), ca.JoinToken{Hash: hash, Identity: identity, ExpiresAt: end, CreatedBy: "uid:0"}))
	}
	s.upkeep.sweepTokens(t.Context())
	_, err = s.store.UseJoinToken(t.Context(), dead, now)
	require.Equal(t, ca.ReasonTokenKeyUnknown, ca.ReasonOf(err))
	_, err = s.store.UseJoinToken(t.Context(), late, now)
	require.Equal(t, ca.ReasonTokenExpired, ca.ReasonOf(err))
}
