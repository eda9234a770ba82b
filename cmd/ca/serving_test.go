package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

// newServing is a server's certificate over an authority whose clock is now.
func newServing(t *testing.T, now func() time.Time) *servingCertificate {
	t.Helper()
	return newServingOf(t, catest.New(t), now)
}

func newServingOf(t *testing.T, c *catest.CA, now func() time.Time) *servingCertificate {
	t.Helper()
	cfg := defaultConfig()
	cfg.TrustDomain, cfg.ServerNames = "cluster.local", []string{"127.0.0.1"}
	policy, err := cfg.buildPolicy()
	require.NoError(t, err)
	identity, err := cfg.serverIdentity()
	require.NoError(t, err)
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

// A full disk lasts; its log shall not be one line for each look.
func TestFailingRenewalOfTheServerCertificateBacksOff(t *testing.T) {
	clock, c := catest.NewClock(), catest.New(t)
	attempts, broken := 0, true
	c.Recorder.Fail = func(ca.Record) error {
		if attempts++; broken {
			return errors.New("no space left on device")
		}
		return nil
	}
	var log bytes.Buffer
	u := &upkeep{serving: newServingOf(t, c, clock.Now), log: slog.New(slog.NewTextHandler(&log, nil))}
	look := func(d time.Duration) (attempted int) {
		before := attempts
		for end := clock.Now().Add(d); clock.Now().Before(end); clock.Advance(upkeepEvery) {
			u.renewServing(t.Context())
		}
		return attempts - before
	}
	// While there is none, nobody can connect: 5, 10, 20, then 30 s apart.
	require.Equal(t, 3, look(30*time.Second))
	require.InDelta(t, 120, look(time.Hour), 2)
	broken = false
	require.Equal(t, 1, look(time.Minute))
	require.Equal(t, attempts-1, strings.Count(log.String(), "server certificate was not renewed"))

	clock.Advance(12 * time.Hour)
	broken = true
	require.InDelta(t, 12, look(time.Hour), 1, "the old one serves on: up to 10 min apart")
	require.InDelta(t, 6, look(time.Hour), 1)
	u.serving.outdate()
	require.Equal(t, 1, look(upkeepEvery), "a reload may have mended it")
	require.Equal(t, 1, look(2*upkeepEvery), "and the waits begin anew")
}

// An intermediate that comes after a long time is worth an attempt at once.
func TestNewIntermediateRenewsTheServerCertificateAtOnce(t *testing.T) {
	s := newServer(t, makeSite(t, at(time.Now())))
	for range 20 {
		s.serving.failed()
	}
	require.False(t, s.serving.mayRetry())
	require.NoError(t, s.upkeep.tick(t.Context(), true))
	require.True(t, s.serving.due())
	require.True(t, s.serving.mayRetry())
}

// A P-256 key of the server's own would be refused by cnsa1, and nothing served.
func TestServerHasAKeyThatItsProfileAllows(t *testing.T) {
	fips := makeSite(t, at(time.Now()))
	cnsa := newSite(t, at(time.Now()), t.TempDir(), func(c *config) { c.FIPS.Profile = "cnsa1" })
	for place, want := range map[*site]elliptic.Curve{&fips: elliptic.P256(), &cnsa: elliptic.P384()} {
		s := newServer(t, *place)
		require.Equal(t, want, s.serving.current.Load().leaf.PublicKey.(*ecdsa.PublicKey).Curve, place.config.FIPS.Profile)
	}
}
