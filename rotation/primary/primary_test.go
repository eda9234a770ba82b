package primary_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/journal"
	"github.com/kedge-ca/kedge/rotation/primary"
	"github.com/kedge-ca/kedge/rotation/rotationtest"
)

// TestChainBeginsWithTheBundleOfAnExistingInstallation: it may have any sequence, and a
// second opening finds the chain of the first.
func TestChainBeginsWithTheBundleOfAnExistingInstallation(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Sequence: 7, Seed: 21})
	chain, err := w.Primary().Bundles(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, chain, 1)
	s, err := w.Primary().Status(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 7, s.Bundle.Sequence())
	held, err := w.Primaries[0].Custodian.Held(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, held.Signed, "its replica has adopted the signed form")
	require.NoError(t, w.Reopen())
	again, err := w.Primary().Bundles(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, chain, again)
	w.Start(primary.StartRequest{New: w.NewRoot()})
	w.Until(rotation.Done)
}

// TestOpeningThatIsCutOffIsResumed at each write that it makes.
func TestOpeningThatIsCutOffIsResumed(t *testing.T) {
	for n := 1; ; n++ {
		for _, persisted := range []bool{false, true} {
			docs, writes, cut := &catest.Documents{}, 0, errors.New("cut")
			w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Workloads: 1, Seed: 22})
			docs.Fault = func() (error, bool) {
				if writes++; writes == n {
					return cut, persisted
				}
				return nil, false
			}
			w.Primaries[0].Forget(t)
			w.Docs = docs
			err := w.Reopen()
			if err == nil {
				require.Greater(t, n, 4, "the opening writes that often")
				return
			}
			require.ErrorIs(t, err, cut)
			require.NoError(t, w.Reopen())
			require.NoError(t, w.Reopen())
			keys, err := journal.NewBundleKeys(docs).All(t.Context())
			require.NoError(t, err)
			require.Len(t, keys, 1)
			require.NotEmpty(t, keys[0].Public)
			require.ElementsMatch(t, []string{keys[0].Name}, w.Primaries[0].BundleKeys(t), "no key without a name")
		}
	}
}

func TestAnotherProcessOfThePrimaryTakesOver(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Primaries: 2, Zones: 1, Seed: 23})
	leader := func() journal.Leader {
		s, err := w.Primary().Status(t.Context())
		require.NoError(t, err)
		return s.Leader
	}
	tick := func(n int) { require.NoError(t, w.PrimaryOf(n).Tick(t.Context())) }
	tick(0)
	require.Equal(t, "primary/p0", leader().Holder)
	before := leader().Epoch
	w.Start(primary.StartRequest{New: w.NewRoot()})
	w.Primaries[0].Down = true
	took := time.Duration(0)
	for ; leader().Holder != "primary/p1"; took += time.Second {
		require.Less(t, took, 6*time.Second)
		w.Age(time.Second)
		tick(1)
	}
	require.LessOrEqual(t, took, 5*time.Second)
	require.Equal(t, before+1, leader().Epoch, "the fencing epoch has risen")
	for range 10 {
		w.Step() // p0 is silent, and blocks as any replica does
	}
	require.True(t, codes(t, w)[rotation.CodeSilent])
	w.Primaries[0].Down = false
	w.Primaries[0].Restart()
	w.Until(rotation.Done)
}

// TestTwoLeadersDoNoHarm: each believes to lead, because a lease proves nothing.
func TestTwoLeadersDoNoHarm(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Primaries: 3, Zones: 1, Seed: 24, Leases: true})
	for range 2 {
		w.Start(primary.StartRequest{New: w.NewRoot()})
		w.Until(rotation.Done)
	}
}

func TestHaltStopsEveryReplicaUntilItIsLifted(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Seed: 25})
	require.Error(t, w.Primary().Halt(t.Context(), "uid:0", ""), "without a reason")
	require.NoError(t, w.Primary().Halt(t.Context(), "uid:0", "a stolen key"))
	w.Step()
	for _, replicas := range w.Zones {
		for _, p := range replicas {
			require.Equal(t, ca.ReasonHalted, ca.ReasonOf(p.Authority.Ready(w.Clock.Now())))
			p.Restart()
			require.Equal(t, ca.ReasonHalted, ca.ReasonOf(p.Authority.Ready(w.Clock.Now())), "it outlives a restart")
		}
	}
	require.NoError(t, w.Primary().Resume(t.Context(), "uid:0"))
	w.Step()
	require.NoError(t, w.Zones["zone-0"][0].Authority.Ready(w.Clock.Now()))
	require.Subset(t, w.Events.Actions(), []string{"halt", "resume", "issuance.halt", "issuance.resume"})
}

func TestJoiningIsRefused(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Seed: 26})
	join := func(token, replica string, key byte) error {
		_, err := w.Primary().Join(t.Context(), primary.JoinRequest{Token: token, Replica: replica, KeyHash: [32]byte{key}})
		return err
	}
	token, err := w.Primary().Token(t.Context(), "eu-1", time.Hour, "uid:0")
	require.NoError(t, err)
	require.Equal(t, ca.ReasonZoneToken, ca.ReasonOf(join("kedge-zone-x", "a", 1)), "no token")
	require.Equal(t, ca.ReasonZoneToken, ca.ReasonOf(join(strings.Replace(token, "zone-", "zone-0", 1), "a", 1)), "another secret")
	require.Equal(t, ca.ReasonZoneName, ca.ReasonOf(join(token, "A", 1)))
	require.NoError(t, join(token, "a", 1))
	require.NoError(t, join(token, "a", 1), "the answer was lost")
	require.Equal(t, ca.ReasonZoneTokenUsed, ca.ReasonOf(join(token, "b", 2)))
	second, err := w.Primary().Token(t.Context(), "eu-1", time.Hour, "uid:0")
	require.NoError(t, err)
	require.Equal(t, ca.ReasonZoneTaken, ca.ReasonOf(join(second, "a", 2)))
	third, err := w.Primary().Token(t.Context(), "eu-1", time.Hour, "uid:0")
	require.NoError(t, err)
	w.Age(time.Hour)
	require.Equal(t, ca.ReasonZoneTokenExpired, ca.ReasonOf(join(third, "c", 3)))

	zone, replica, err := w.Primary().Replica(t.Context(), [32]byte{1})
	require.NoError(t, err)
	require.Equal(t, []string{"eu-1", "a"}, []string{string(zone), replica})
	_, _, err = w.Primary().Replica(t.Context(), [32]byte{9})
	require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(err))
	require.NoError(t, w.Primary().RemoveReplica(t.Context(), "eu-1", "a", journal.Removal{Actor: "uid:0", Reason: "lost"}))
	_, _, err = w.Primary().Replica(t.Context(), [32]byte{1})
	require.Equal(t, ca.ReasonZoneRemoved, ca.ReasonOf(err))
	_, err = w.Primary().Token(t.Context(), "No", 0, "uid:0")
	require.Equal(t, ca.ReasonZoneName, ca.ReasonOf(err))
	require.Equal(t, ca.ReasonZoneName, ca.ReasonOf(w.Primary().RemoveZone(t.Context(), rotationtest.PrimaryZone, "uid:0", "a slip")))
}

func TestIntermediateIsSignedUnderTheCommandedAnchorOnly(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 2, Replicas: 1, Seed: 27})
	sign := func(zone rotation.Zone, replica string, anchor ca.AnchorID) error {
		csr := catest.CSR(t, catest.GenerateKey(t, "ecdsa-p256"), "")
		chain, err := w.Primary().SignIntermediate(t.Context(), zone, replica, csr, anchor, 0)
		require.Equal(t, err == nil, len(chain) > 0)
		return err
	}
	next := w.NewRoot()
	plan := w.Start(primary.StartRequest{New: next})
	require.NoError(t, sign("zone-0", "r0", plan.Old))
	require.Equal(t, ca.ReasonZoneAnchor, ca.ReasonOf(sign("zone-0", "r0", next)), "in no bundle")
	w.Until(rotation.Distributing)
	w.Step()
	require.Equal(t, ca.ReasonZoneAnchor, ca.ReasonOf(sign("zone-0", "r0", next)), "nobody was told")
	w.Until(rotation.Draining)
	require.NoError(t, sign("zone-0", "r0", next))
	require.Equal(t, ca.ReasonZoneAnchor, ca.ReasonOf(sign("zone-0", "r0", plan.Old)), "it was told otherwise")
	require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(sign("zone-0", "r7", next)))
	require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(sign("zone-7", "r0", next)))

	w.Exclude("zone-0")
	require.Equal(t, ca.ReasonZoneAnchor, ca.ReasonOf(sign("zone-0", "r0", next)), "it is excluded")
	w.Remove("zone-1")
	require.Equal(t, ca.ReasonZoneRemoved, ca.ReasonOf(sign("zone-1", "r0", next)))
}

// TestLeaseIsStoredBeforeTheIntermediateIsGiven: a crash after that forgets no leaf.
func TestLeaseIsStoredBeforeTheIntermediateIsGiven(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Seed: 28})
	for _, z := range w.List() {
		for _, r := range z.Replicas {
			i := w.Zones[z.Name][0].Authority.Intermediate()
			require.Equal(t, i.NotAfter(), r.Lease().Truncate(time.Second), "%s/%s", z.Name, r.Name)
		}
	}
}

func TestRotationIsProposedAtHalfLifeAndStartedWhereConfigured(t *testing.T) {
	for _, scheduled := range []bool{false, true} {
		w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Workloads: 1, Seed: 29, Settings: primary.Settings{Schedule: scheduled}})
		next := w.NewRoot()
		require.NoError(t, w.Primary().AddStandby(t.Context(), next, "uid:0"))
		due := func() string {
			s, err := w.Primary().Status(t.Context())
			require.NoError(t, err)
			return s.Due
		}
		require.Empty(t, due())
		w.Age(ca.RootLifetime / 2)
		require.NotEmpty(t, due())
		w.Settle()
		w.Step()
		require.Equal(t, scheduled, w.Plan().ID != "")
		if scheduled {
			require.Equal(t, "system", w.Plan().Actor)
			require.Empty(t, due(), "it is under way")
		}
	}
}

func TestEveryActIsAnEventWithItsActor(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Seed: 30})
	w.Start(primary.StartRequest{New: w.NewRoot(), Actor: "uid:1000", Reason: "a Tuesday"})
	w.Until(rotation.Distributing)
	w.Step()
	w.Abort()
	w.Until(rotation.Aborted)
	actions := w.Events.Actions()
	require.Subset(t, actions, []string{"bundle.begin", "zone.token", "zone.join", "zone.intermediate", "primary.lead", "rotation.start", "rotation.phase", "bundle.publish", "rotation.abort"})
	for _, e := range w.Events.All() {
		require.NotEmpty(t, e.Actor, e.Action)
		require.False(t, e.At.IsZero(), e.Action)
		if e.Action == "rotation.start" {
			require.Equal(t, "uid:1000", e.Actor)
			require.Equal(t, "a Tuesday", e.Detail["because"])
		}
	}
}

// TestActThatCannotBeRecordedIsNotDone: an act without a record does not happen.
func TestActThatCannotBeRecordedIsNotDone(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Seed: 31})
	w.Events.Fail = func(ca.Event) error { return errors.New("disk full") }
	_, err := w.Primary().Start(t.Context(), primary.StartRequest{New: w.NewRoot(), Actor: "uid:0"})
	require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(err))
	require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(w.Primary().Halt(t.Context(), "uid:0", "a drill")))
	require.Empty(t, w.Plan().ID)
	s, err := w.Primary().Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, s.Halted)
}

func TestSecondRotationAndOneToNowhereAreRefused(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Seed: 32})
	_, err := w.Primary().Start(t.Context(), primary.StartRequest{Actor: "uid:0"})
	require.Equal(t, ca.ReasonNotFound, ca.ReasonOf(err), "there is no standby")
	_, err = w.Primary().Start(t.Context(), primary.StartRequest{Actor: "uid:0", New: ca.AnchorID{1}})
	require.Error(t, err, "no root is this anchor")
	first := w.Start(primary.StartRequest{New: w.NewRoot()})
	_, err = w.Primary().Start(t.Context(), primary.StartRequest{Actor: "uid:0", New: w.NewRoot()})
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err))
	require.ErrorContains(t, err, first.ID)
	w.Until(rotation.Distributing)
	w.Step()
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(w.Primary().RemoveStandby(t.Context(), first.New, "uid:0")), "the rotation is about it")
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(w.Primary().RemoveStandby(t.Context(), first.Old, "uid:0")), "it is active")
}

func TestStandbyMayBeTakenBack(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Seed: 34})
	before, next := anchors(w), w.NewRoot()
	for range 2 {
		require.NoError(t, w.Primary().AddStandby(t.Context(), next, "uid:0"))
	}
	require.Equal(t, ca.SlotStandby, anchors(w)[next])
	for range 2 {
		require.NoError(t, w.Primary().RemoveStandby(t.Context(), next, "uid:0"))
	}
	require.Equal(t, before, anchors(w))
	s, err := w.Primary().Status(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, s.Bundle.Sequence(), "what changes nothing publishes nothing")
}

// TestFollowWaitsForNews in the time of a bubble: a command of another process is seen
// within a second, one of the same at once.
func TestFollowWaitsForNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Seed: 33})
		p := w.Primary()
		s, err := p.Status(t.Context())
		require.NoError(t, err)
		have := primary.Have{Zone: "zone-0", Replica: "r0", Sequence: s.Bundle.Sequence()}
		began := time.Now()
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		_, err = p.Follow(ctx, have)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
		go func() {
			time.Sleep(1500 * time.Millisecond)
			_, err := journal.NewCommands(w.Docs).Halt(t.Context(), "a drill")
			require.NoError(t, err)
			time.Sleep(1500 * time.Millisecond)
			require.NoError(t, p.Resume(t.Context(), "uid:0"))
		}()
		began = time.Now()
		d, err := p.Follow(t.Context(), have)
		require.NoError(t, err)
		require.Equal(t, "a drill", d.Halted)
		require.Equal(t, 2*time.Second, time.Since(began))
		have.Halted = d.Halted
		d, err = p.Follow(t.Context(), have)
		require.NoError(t, err)
		require.Empty(t, d.Halted)
		require.Equal(t, 3*time.Second, time.Since(began))
	})
}

// TestProcessesOfThePrimaryWorkAtTheSameTime, for the race detector: two of them move
// one plan, are followed, reported to and asked for standbys, all at once.
func TestProcessesOfThePrimaryWorkAtTheSameTime(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Primaries: 2, Zones: 1, Seed: 35})
	w.Start(primary.StartRequest{New: w.NewRoot()})
	report := w.List()[0].Replicas[0].Report
	standbys := []ca.AnchorID{w.NewRoot(), w.NewRoot()}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for n := range 2 {
		p := w.PrimaryOf(n)
		all.Go(func() { p.Run(ctx, nil) })
		all.Go(func() {
			for range 20 {
				_ = p.Tick(ctx) // the other may be faster
				_, _, _ = p.Directive(ctx, primary.Have{Zone: report.Zone, Replica: report.Replica})
				_ = p.Report(ctx, report)
				_, _ = p.Status(ctx)
			}
		})
		all.Go(func() {
			require.Eventually(t, func() bool { return p.AddStandby(ctx, standbys[n], "uid:0") == nil }, 20*time.Second, time.Millisecond)
		})
	}
	require.Eventually(t, func() bool {
		got := anchors(w)
		return got[standbys[0]] == ca.SlotStandby && got[standbys[1]] == ca.SlotStandby
	}, 20*time.Second, 10*time.Millisecond)
	stop()
	all.Wait()
	w.Until(rotation.Done)
	require.Equal(t, ca.SlotStandby, anchors(w)[standbys[0]], "what others have published stays")
}
