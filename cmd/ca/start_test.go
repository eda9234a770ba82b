package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

// operations.md: a lost root means no new intermediates, not an outage at the
// next restart.
func TestServerStartsWithoutItsRootAndFindsItAgain(t *testing.T) {
	place := makeSite(t, at(time.Now()))
	away := place.config.Root.Dir + "-away"
	require.NoError(t, os.Rename(place.config.Root.Dir, away))
	s := newServer(t, place)
	require.NoError(t, s.authority.Ready(time.Now()))

	require.ErrorContains(t, s.upkeep.tick(t.Context(), true), "there is no root in")
	require.NoError(t, s.authority.Ready(time.Now()))
	require.NoError(t, os.Rename(away, place.config.Root.Dir))
	require.NoError(t, s.upkeep.tick(t.Context(), true))
}

func TestServerStartsWithNoSuspiciousRoot(t *testing.T) {
	place := makeSite(t, at(time.Now()))
	require.NoError(t, os.Chmod(place.config.Root.Dir, 0o755))
	_, err := at(time.Now()).openInstance(place.config, fipstest.Start(t, "fips"), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, place.config.Root.Dir)
}

// A database that a start makes would be in the way of ca init.
func TestStartBeforeInitSaysSoAndMakesNothing(t *testing.T) {
	place := makeSite(t, at(time.Now()))
	for _, name := range []string{"db", "root"} {
		require.NoError(t, os.RemoveAll(filepath.Join(place.config.DataDir, name)))
	}
	_, err := at(time.Now()).openInstance(place.config, fipstest.Start(t, "fips"), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "ca init")
	require.NoDirExists(t, filepath.Join(place.config.DataDir, "db"))
}

// It would serve, never be ready, and say why only in its log.
func TestServerRefusesAStoreOfAnotherTrustDomain(t *testing.T) {
	place := makeSite(t, at(time.Now()))
	place.edit(t, "trustDomain: example.org", "trustDomain: example.net")
	var err error
	place.config, err = loadConfig(place.path)
	require.NoError(t, err)
	a, log := at(time.Now()), slog.New(slog.DiscardHandler)
	i, err := a.openInstance(place.config, fipstest.Start(t, "fips"), log)
	require.NoError(t, err)
	t.Cleanup(func() { _ = i.close() })
	s := &server{instance: i, app: a, log: log, started: a.now()}
	err = s.run(t.Context()) // without an end of its own, a server that starts would hang the test
	require.ErrorIs(t, err, ca.ErrForeignState)
	for _, part := range []string{"example.org", "example.net", "trustDomain", "dataDir"} {
		require.ErrorContains(t, err, part)
	}
	require.Nil(t, s.tls, "nothing listens")
}
