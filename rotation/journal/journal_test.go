package journal_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/store/sqlite"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
)

var start = time.Date(2026, time.November, 24, 12, 0, 0, 0, time.UTC)

// everywhere runs a test over each kind of documents.
func everywhere(t *testing.T, test func(t *testing.T, docs ca.Documents)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(t, &catest.Documents{}) })
	t.Run("sqlite", func(t *testing.T) {
		store, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(t.TempDir(), "db")})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		test(t, store)
	})
}

func plan(id string, started time.Time) rotation.Plan {
	return rotation.Plan{ID: id, Old: ca.AnchorID{1}, New: ca.AnchorID{2}, Phase: rotation.Staged, StartedAt: started, Since: started, Sequence: 1, First: 1}
}

func TestPlanIsStoredByCompareAndSwapAndKeptForHistory(t *testing.T) {
	everywhere(t, func(t *testing.T, docs ca.Documents) {
		plans := journal.NewPlans(docs)
		_, version, err := plans.Load(t.Context())
		require.NoError(t, err)
		require.Zero(t, version)
		first := plan("first", start)
		v1, err := plans.Replace(t.Context(), 0, first)
		require.NoError(t, err)
		_, err = plans.Replace(t.Context(), 0, plan("late", start))
		require.Equal(t, ca.ReasonStale, ca.ReasonOf(err))
		first.Phase = rotation.Done
		v2, err := plans.Replace(t.Context(), v1, first)
		require.NoError(t, err)
		_, err = plans.Replace(t.Context(), v1, plan("late", start))
		require.Equal(t, ca.ReasonStale, ca.ReasonOf(err))

		second := plan("second", start.Add(time.Hour))
		v3, err := plans.Replace(t.Context(), v2, second)
		require.NoError(t, err)
		got, version, err := journal.NewPlans(docs).Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, second, got)
		require.Equal(t, v3, version)
		history, err := plans.History(t.Context())
		require.NoError(t, err)
		require.Equal(t, []rotation.Plan{second, first}, history)
	})
}

// TestPlanThatIsKeptAndNotReplacedIsNotTwoInHistory: the writer crashed between.
func TestPlanThatIsKeptAndNotReplacedIsNotTwoInHistory(t *testing.T) {
	docs := &catest.Documents{}
	plans := journal.NewPlans(docs)
	first := plan("first", start)
	version, err := plans.Replace(t.Context(), 0, first)
	require.NoError(t, err)
	writes, cut := 0, errors.New("cut")
	docs.Fault = func() (error, bool) {
		if writes++; writes == 2 {
			return cut, false
		}
		return nil, false
	}
	_, err = plans.Replace(t.Context(), version, plan("second", start))
	require.ErrorIs(t, err, cut)
	history, err := plans.History(t.Context())
	require.NoError(t, err)
	require.Equal(t, []rotation.Plan{first}, history)
	_, err = plans.Replace(t.Context(), version, plan("second", start))
	require.NoError(t, err)
	history, err = plans.History(t.Context())
	require.NoError(t, err)
	require.Len(t, history, 2)
}

func TestPlanOfANewerProgramIsNotTouched(t *testing.T) {
	docs := &catest.Documents{}
	_, err := docs.PutDocument(t.Context(), "rotation", "plan", 0, []byte(`{"id":"r1","unheard_of":true}`))
	require.NoError(t, err)
	_, _, err = journal.NewPlans(docs).Load(t.Context())
	require.ErrorContains(t, err, "a newer program")
}

func TestChainGivesEachSequenceToOne(t *testing.T) {
	everywhere(t, func(t *testing.T, docs ca.Documents) {
		chain := journal.NewChain(docs)
		signed := func(n int) bundle.Signed {
			return bundle.Signed{Payload: fmt.Appendf(nil, "bundle %d", n), Signatures: []bundle.Signature{{Key: "k", Value: []byte{1}}}}
		}
		for n := 9; n <= 12; n++ { // names sort as numbers do
			require.NoError(t, chain.Append(t.Context(), uint64(n), signed(n)))
		}
		require.Equal(t, ca.ReasonStale, ca.ReasonOf(chain.Append(t.Context(), 12, signed(0))))
		after, err := chain.After(t.Context(), 9)
		require.NoError(t, err)
		require.Equal(t, []bundle.Signed{signed(10), signed(11), signed(12)}, after)
		at, ok, err := chain.At(t.Context(), 9)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, signed(9), at)
		_, ok, err = chain.At(t.Context(), 8)
		require.NoError(t, err)
		require.False(t, ok)

		require.NoError(t, chain.Cut(t.Context(), 10))
		after, err = chain.After(t.Context(), 0)
		require.NoError(t, err)
		require.Equal(t, []bundle.Signed{signed(9), signed(10)}, after)
		require.NoError(t, chain.Append(t.Context(), 11, signed(77)))
	})
}

func TestReservedSequenceOnlyRises(t *testing.T) {
	chain := journal.NewChain(&catest.Documents{})
	for _, sequence := range []uint64{4, 7, 5} {
		require.NoError(t, chain.Reserve(t.Context(), sequence))
	}
	reserved, err := chain.Reserved(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 7, reserved)
}

func TestCommandIsGivenOnceAndNeverOvertaken(t *testing.T) {
	everywhere(t, func(t *testing.T, docs ca.Documents) {
		commands := journal.NewCommands(docs)
		give := func(signer byte, epoch uint64) (bool, error) {
			return commands.Give(t.Context(), rotation.Command{Zone: "eu-1", Command: ca.Command{Signer: ca.AnchorID{signer}, Epoch: epoch}})
		}
		isNew, err := give(2, 5)
		require.NoError(t, err)
		require.True(t, isNew)
		isNew, err = give(2, 5)
		require.NoError(t, err)
		require.False(t, isNew)
		for name, late := range map[string]func() (bool, error){
			"of a lower epoch":      func() (bool, error) { return give(2, 4) },
			"of the same, to other": func() (bool, error) { return give(1, 5) },
		} {
			_, err = late()
			require.Equal(t, ca.ReasonStale, ca.ReasonOf(err), name)
		}
		held, err := commands.Command(t.Context(), "eu-1")
		require.NoError(t, err)
		require.Equal(t, rotation.Command{Zone: "eu-1", Command: ca.Command{Signer: ca.AnchorID{2}, Epoch: 5}}, held)
		none, err := commands.Command(t.Context(), "eu-2")
		require.NoError(t, err)
		require.Zero(t, none)
		epoch, err := commands.Epoch(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 5, epoch)
	})
}

func TestHaltLastsUntilItIsLifted(t *testing.T) {
	commands := journal.NewCommands(&catest.Documents{})
	before, err := commands.Halt(t.Context(), "stolen key")
	require.NoError(t, err)
	require.Empty(t, before)
	why, err := commands.Halted(t.Context())
	require.NoError(t, err)
	require.Equal(t, "stolen key", why)
	before, err = commands.Halt(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, "stolen key", before)
}

func TestLeadershipPassesWhenTheLeaseHasEnded(t *testing.T) {
	everywhere(t, func(t *testing.T, docs ca.Documents) {
		l := journal.NewLeadership(docs)
		take := func(holder string, at time.Duration) journal.Leader {
			leader, err := l.Take(t.Context(), holder, start.Add(at), 3*time.Second)
			require.NoError(t, err)
			return leader
		}
		require.Equal(t, journal.Leader{Holder: "a", Epoch: 1, Until: start.Add(3 * time.Second)}, take("a", 0))
		require.Equal(t, "a", take("b", time.Second).Holder)
		require.Equal(t, journal.Leader{Holder: "a", Epoch: 1, Until: start.Add(5 * time.Second)}, take("a", 2*time.Second), "renewed")
		require.Equal(t, "a", take("b", 4*time.Second).Holder)
		require.Equal(t, journal.Leader{Holder: "b", Epoch: 2, Until: start.Add(8 * time.Second)}, take("b", 5*time.Second))
		require.Equal(t, "b", take("a", 6*time.Second).Holder)
		require.NoError(t, l.GiveUp(t.Context(), "a", start.Add(6*time.Second)), "of what another has")
		require.Equal(t, "b", take("a", 6*time.Second).Holder)
		require.NoError(t, l.GiveUp(t.Context(), "b", start.Add(6*time.Second)))
		require.Equal(t, journal.Leader{Holder: "a", Epoch: 3, Until: start.Add(9 * time.Second)}, take("a", 6*time.Second))
	})
}

// TestLeaseOfAClockThatWasAheadHoldsNobodyUp: it lasts longer than any lease can.
func TestLeaseOfAClockThatWasAheadHoldsNobodyUp(t *testing.T) {
	l := journal.NewLeadership(&catest.Documents{})
	_, err := l.Take(t.Context(), "a", start.Add(24*time.Hour), 3*time.Second)
	require.NoError(t, err)
	leader, err := l.Take(t.Context(), "b", start, 3*time.Second)
	require.NoError(t, err)
	require.Equal(t, "b", leader.Holder)
}

func TestOfManyWhoTakeTheLeaseOneLeads(t *testing.T) {
	everywhere(t, func(t *testing.T, docs ca.Documents) {
		var all sync.WaitGroup
		leaders := make([]journal.Leader, 8)
		for i := range leaders {
			all.Go(func() {
				leader, err := journal.NewLeadership(docs).Take(t.Context(), fmt.Sprint(i), start, time.Minute)
				if err == nil {
					leaders[i] = leader
				}
			})
		}
		all.Wait()
		for _, leader := range leaders {
			require.Equal(t, leaders[0], leader)
		}
	})
}

func TestJoinTokenServesOneReplica(t *testing.T) {
	everywhere(t, func(t *testing.T, docs ca.Documents) {
		tokens := journal.NewTokens(docs)
		require.NoError(t, tokens.Add(t.Context(), "hash", journal.Token{Zone: "eu-1", Actor: "uid:0", Expires: start.Add(time.Hour)}))
		for _, at := range []time.Time{start, start.Add(time.Minute)} { // the answer was lost
			token, err := tokens.Spend(t.Context(), "hash", "key", at)
			require.NoError(t, err)
			require.Equal(t, journal.Token{Zone: "eu-1", Actor: "uid:0", Expires: start.Add(time.Hour), UsedBy: "key", UsedAt: start}, token)
		}
		require.NoError(t, tokens.Add(t.Context(), "other", journal.Token{Zone: "eu-1", Expires: start.Add(time.Hour)}))
		for name, refused := range map[string]struct {
			hash, key string
			at        time.Time
			reason    ca.Reason
		}{
			"unknown":            {"none", "key", start, ca.ReasonZoneToken},
			"of another replica": {"hash", "key 2", start, ca.ReasonZoneTokenUsed},
			"ended":              {"other", "key", start.Add(time.Hour), ca.ReasonZoneTokenExpired},
			"ended, and used":    {"hash", "key", start.Add(time.Hour), ca.ReasonZoneTokenExpired},
		} {
			_, err := tokens.Spend(t.Context(), refused.hash, refused.key, refused.at)
			require.Equal(t, refused.reason, ca.ReasonOf(err), name)
		}
		require.NoError(t, tokens.Sweep(t.Context(), start.Add(time.Hour)))
		_, err := tokens.Spend(t.Context(), "hash", "key", start)
		require.NoError(t, err, "it has not ended before that")
		require.NoError(t, tokens.Sweep(t.Context(), start.Add(2*time.Hour)))
		_, err = tokens.Spend(t.Context(), "hash", "key", start)
		require.Equal(t, ca.ReasonZoneToken, ca.ReasonOf(err))
	})
}
