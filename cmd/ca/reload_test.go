package main

import (
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips/fipstest"
)

// newServer is a server of s that is supplied and does not listen.
func newServer(t *testing.T, s site) *server {
	t.Helper()
	a := at(time.Now())
	log := slog.New(slog.DiscardHandler)
	i, err := a.openInstance(s.config, fipstest.Start(t, s.config.FIPS.Profile), log)
	require.NoError(t, err)
	t.Cleanup(func() { _ = i.close() })
	require.NoError(t, i.upkeep.tick(t.Context(), false))
	require.NoError(t, i.serving.renew(t.Context()))
	return &server{instance: i, app: a, log: log, options: serveOptions{configPath: s.path}, started: a.now()}
}

// edit replaces text in the configuration of s.
func (s site) edit(t *testing.T, old, replacement string) {
	t.Helper()
	raw, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.Contains(t, string(raw), old)
	require.NoError(t, os.WriteFile(s.path, []byte(strings.Replace(string(raw), old, replacement, 1)), 0o600))
}

// A SIGHUP and an operator's reload may meet; the race detector watches.
func TestReloadsAtOnceTakeTurns(t *testing.T) {
	s := newServer(t, makeSite(t, at(time.Now())))
	var all sync.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		all.Go(func() { errs <- s.Reload(t.Context()) })
	}
	all.Wait()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	require.NoError(t, s.close())
}

func TestReloadThatCannotBeRecordedChangesNothing(t *testing.T) {
	place := makeSite(t, at(time.Now()))
	s := newServer(t, place)
	before := s.current.Load()
	place.edit(t, "127.0.0.1", "127.0.0.2")
	require.NoError(t, s.store.Close())
	require.Error(t, s.Reload(t.Context()))
	require.Same(t, before, s.current.Load())
	require.False(t, s.serving.due())
}

func TestHalfAConfigurationIsNotReloaded(t *testing.T) {
	place := makeSite(t, at(time.Now()))
	s := newServer(t, place)
	before := s.current.Load()
	raw, err := os.ReadFile(place.path)
	require.NoError(t, err)
	for _, size := range []int{0, 1, len(raw) / 3, len(raw) / 2} {
		require.NoError(t, os.Truncate(place.path, int64(size)))
		require.Error(t, s.Reload(t.Context()), "%d bytes", size)
		require.Same(t, before, s.current.Load())
		require.NoError(t, os.WriteFile(place.path, raw, 0o600))
	}
}

func TestReloadedServerNamesStandInTheNextCertificate(t *testing.T) {
	place := makeSite(t, at(time.Now()))
	s := newServer(t, place)
	require.Equal(t, "127.0.0.1", s.serving.current.Load().leaf.IPAddresses[0].String())
	place.edit(t, "- 127.0.0.1", "- 127.0.0.2")
	require.NoError(t, s.Reload(t.Context()))
	require.True(t, s.serving.due(), "upkeep renews it at its next look")
	require.NoError(t, s.serving.renew(t.Context()))
	require.Equal(t, "127.0.0.2", s.serving.current.Load().leaf.IPAddresses[0].String())
	require.False(t, s.serving.due())
}
