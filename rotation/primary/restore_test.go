package primary_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/primary"
	"github.com/kedge-ca/kedge/rotation/rotationtest"
)

func codes(t *testing.T, w *rotationtest.World) map[rotation.Code]bool {
	t.Helper()
	s, err := w.Primary().Status(t.Context())
	require.NoError(t, err)
	found := make(map[rotation.Code]bool)
	for _, b := range s.Blockers {
		found[b.Code] = true
	}
	return found
}

// TestOldCopyOfTheJournalPublishesNothing: its zones hold a later bundle, and it would
// give the same sequence to another one.
func TestOldCopyOfTheJournalPublishesNothing(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 2, Seed: 11})
	backup := w.Docs.Backup()
	w.Start(primary.StartRequest{New: w.NewRoot()})
	w.Until(rotation.Done)
	before := w.Zones["zone-0"][0].Authority.Bundle().Sequence()
	w.Restore(backup)
	for range 3 {
		w.Step()
	}
	require.True(t, codes(t, w)[rotation.CodeForked])
	err := w.Primary().AddStandby(t.Context(), w.NewRoot(), "uid:0")
	require.Equal(t, ca.ReasonBundleForked, ca.ReasonOf(err), "%v", err)
	r, err := w.Primary().Reconstruct(t.Context())
	require.NoError(t, err)
	require.False(t, r.Agrees())
	require.Equal(t, before, r.Highest.Sequence)
	require.Less(t, r.Sequence, before)
	require.Equal(t, before, w.Zones["zone-0"][0].Authority.Bundle().Sequence(), "a zone takes nothing older")

	take := primary.Taking{Chain: []bundle.Signed{w.Zones["zone-0"][0].Copy()}, Actor: "uid:0", Reason: "the store was restored"}
	require.NoError(t, w.Primary().Take(t.Context(), take))
	for range 3 {
		w.Step()
	}
	r, err = w.Primary().Reconstruct(t.Context())
	require.NoError(t, err)
	require.True(t, r.Agrees(), "%+v", r)
	w.Start(primary.StartRequest{New: w.NewRoot()})
	w.Until(rotation.Done)
}

// TestOldCopyOfTheJournalFromEachPhase: the plan goes on from what the zones show, and
// can be aborted from there.
func TestOldCopyOfTheJournalFromEachPhase(t *testing.T) {
	phases := []rotation.Phase{rotation.Staged, rotation.Distributing, rotation.Activating, rotation.Draining}
	for i, phase := range phases {
		for _, later := range append(phases[i+1:len(phases):len(phases)], rotation.Retiring) {
			t.Run(string(phase)+" and "+string(later), func(t *testing.T) {
				w := rotationtest.New(t, rotationtest.Config{Zones: 2, Replicas: 1, Seed: 12})
				w.Start(primary.StartRequest{New: w.NewRoot()})
				w.Until(phase)
				backup := w.Docs.Backup()
				w.Until(later)
				w.Step()
				w.Restore(backup)
				for range 3 {
					w.Step()
				}
				r, err := w.Primary().Reconstruct(t.Context())
				require.NoError(t, err)
				if !r.Agrees() {
					take := primary.Taking{Actor: "uid:0", Reason: "the store was restored"}
					if r.Highest.Sequence > r.Sequence {
						take.Chain = append(take.Chain, w.Zones["zone-0"][0].Copy())
					}
					require.NoError(t, w.Primary().Take(t.Context(), take))
				}
				w.SetAutomatic()
				w.Until(rotation.Done)
			})
		}
	}
}

func TestCopyThatCannotBeGoneOnFromIsNotTaken(t *testing.T) {
	w, other := rotationtest.New(t, rotationtest.Config{Zones: 1, Seed: 13}), rotationtest.New(t, rotationtest.Config{Zones: 1, Seed: 14})
	take := func(s bundle.Signed) error {
		return w.Primary().Take(t.Context(), primary.Taking{Chain: []bundle.Signed{s}, Actor: "uid:0", Reason: "a test"})
	}
	require.Equal(t, ca.ReasonBundleSignature, ca.ReasonOf(take(other.Zones["zone-0"][0].Copy())), "of other bundle keys")
	forged := w.Zones["zone-0"][0].Copy()
	forged.Signatures = nil
	require.Equal(t, ca.ReasonBundleSignature, ca.ReasonOf(take(forged)))
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(take(w.Zones["zone-0"][0].Copy())), "what it has")
	require.Error(t, w.Primary().Take(t.Context(), primary.Taking{}), "by nobody")
}

// TestPrimaryWhoseJournalWasLostBeginsNoOtherChain: this replica holds what the lost
// one has published.
func TestPrimaryWhoseJournalWasLostBeginsNoOtherChain(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Seed: 15})
	require.NoError(t, w.Reopen())
	w.Docs = &catest.Documents{}
	require.Equal(t, ca.ReasonBundleForked, ca.ReasonOf(w.Reopen()))
}
