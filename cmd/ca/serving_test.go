package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

// newServing is a server's certificate over an authority whose clock is now.
func newServing(t *testing.T, now func() time.Time) *servingCertificate {
	t.Helper()
	cfg := defaultConfig()
	cfg.TrustDomain, cfg.ServerNames = "cluster.local", []string{"127.0.0.1"}
	policy, err := cfg.buildPolicy()
	require.NoError(t, err)
	identity, err := cfg.serverIdentity()
	require.NoError(t, err)
	c := catest.New(t)
	authority, err := ca.NewAuthority(ca.AuthorityConfig{FIPS: c.FIPS, Policy: policy, Recorder: c.Recorder, Now: now})
	require.NoError(t, err)
	_, err = authority.Swap(c.Intermediate, c.Bundle)
	require.NoError(t, err)
	return &servingCertificate{authority: authority, identity: identity, now: now}
}

func TestServerCertificateRenewsAtHalfOfItsLife(t *testing.T) {
	clock := catest.NewClock()
	s := newServing(t, clock.Now)
	require.True(t, s.due(), "there is none")
	require.NoError(t, s.renew(t.Context()))
	require.False(t, s.due())
	clock.Advance(11 * time.Hour)
	require.False(t, s.due())
	clock.Advance(time.Hour)
	require.True(t, s.due())
}

func TestServerCertificateOfAClockThatWasAheadIsReplaced(t *testing.T) {
	clock := catest.NewClock()
	s := newServing(t, clock.Now)
	clock.Advance(10 * time.Hour)
	require.NoError(t, s.renew(t.Context()))
	require.False(t, s.due())
	clock.Advance(-10 * time.Hour)
	require.True(t, s.due(), "every client refuses it")
}

// time.Time compares by the monotonic clock where both sides have it, and that
// clock stands still while a machine is suspended.
func TestServerCertificateRenewsAfterASuspend(t *testing.T) {
	start := time.Now()
	now := func() time.Time { return start.Add(catest.Start.Sub(start)) } // with a monotonic reading
	s := newServing(t, now)
	require.NoError(t, s.renew(t.Context()))
	renewAt := s.current.Load().renewAt
	require.Equal(t, renewAt.Round(0), renewAt) // Round(0) takes it off
}
