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

// A command that could not be followed at once is followed as soon as that is possible:
// the intermediate in force may have days to live, and a rotation waits.
func TestACommandThatFailedIsTriedAgain(t *testing.T) {
	s := makeSite(t, at(time.Now()))
	i, err := at(time.Now()).openInstance(s.config, fipstest.Start(t, s.config.FIPS.Profile), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = i.close() })
	require.NoError(t, i.upkeep.tick(t.Context(), false))
	require.False(t, i.upkeep.due(time.Now()))
	i.upkeep.note(ca.Supply{}, errors.New("reading state: context deadline exceeded"), time.Now())
	require.True(t, i.upkeep.due(i.upkeep.retry.next), "the command that came could not even be read")

	require.NoError(t, i.upkeep.tick(t.Context(), false))
	var standby ca.AnchorID
	for _, a := range i.authority.Bundle().Anchors() {
		if a.Slot == ca.SlotStandby {
			standby = ca.AnchorIDOf(a.Certificate)
		}
	}
	require.NoError(t, i.custodian.Obey(t.Context(), time.Now(), ca.Command{Signer: standby, Epoch: 1}))
	for range 20 { // no root of the standby is configured
		require.Error(t, i.upkeep.tick(t.Context(), false))
	}
	require.LessOrEqual(t, i.upkeep.retry.wait, unservedAtMost)
	require.True(t, i.upkeep.due(i.upkeep.retry.next))
}

// A root whose clock is days behind signs intermediates that are due at once. They
// must not be renewed every few seconds for ever.
func TestAnIntermediateThatIsDueAtOnceIsRenewedAtAPace(t *testing.T) {
	s := makeSite(t, at(time.Now()))
	i, err := at(time.Now()).openInstance(s.config, fipstest.Start(t, s.config.FIPS.Profile), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = i.close() })
	require.NoError(t, i.upkeep.tick(t.Context(), true))
	supply := i.upkeep.status()
	require.True(t, supply.Renewed)
	require.True(t, i.upkeep.retry.ready(time.Now()))
	late := time.Now().Add(ca.IntermediateLifetime - time.Hour)
	for range 8 {
		i.upkeep.note(supply, nil, late)
		require.False(t, i.upkeep.retry.ready(late))
		late = late.Add(time.Minute)
	}
	require.Greater(t, i.upkeep.retry.wait, time.Minute)
	i.upkeep.note(supply, nil, time.Now())
	require.True(t, i.upkeep.retry.ready(time.Now()))
}
