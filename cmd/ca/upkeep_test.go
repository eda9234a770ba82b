package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
)

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
