package main

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

// A server that started in an outage of what seals its keys has nothing to issue
// with. It must not sleep for ten minutes after the outage is over.
func TestAServerWithoutAnIntermediateAsksOften(t *testing.T) {
	s := makeSite(t, at(time.Now()))
	i, err := at(time.Now()).openInstance(s.config, fipstest.Start(t, s.config.FIPS.Profile), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = i.close() })
	now, sealed := time.Now(), errors.New("vault is sealed")
	for range 20 {
		i.upkeep.note(ca.Supply{}, sealed, now)
		now = i.upkeep.retry.next
	}
	require.LessOrEqual(t, i.upkeep.retry.wait, unservedAtMost)
	require.NoError(t, i.upkeep.tick(t.Context(), false))
	for range 20 { // what is in memory lives, even where its key cannot be opened again: no hurry
		i.upkeep.note(ca.Supply{}, sealed, time.Now())
	}
	require.Equal(t, retryAtMost, i.upkeep.retry.wait)
}
