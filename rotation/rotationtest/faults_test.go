package rotationtest_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
	"github.com/kedge-ca/kedge/rotation/rotationtest"
)

// rotations is how many rotations the long tests make: KEDGE_ROTATIONS, or a few.
func rotations(t *testing.T) int {
	t.Helper()
	text := os.Getenv("KEDGE_ROTATIONS")
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

var faultyLink = rotationtest.Link{Lose: 4, Delay: 3, Repeat: 3, Reorder: 2}

// rotate makes a rotation to a new anchor, every other one as a standby before.
func rotate(w *rotationtest.World, n int) ca.AnchorID {
	next := w.NewRoot()
	if n%2 == 1 {
		w.Eventually(func() error { return w.Primary().AddStandby(w.T.Context(), next, "uid:0") })
	}
	w.Start(primary.StartRequest{New: next})
	w.Until(rotation.Done)
	return next
}

func TestRotationsOverFaultyLinksBreakNoHandshake(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Seed: 1, Step: 4 * time.Minute})
	w.SetLinks(faultyLink)
	for n := range rotations(t) {
		rotate(w, n)
	}
}

func TestRotationsWithCrashesAtAnyWriteBreakNoHandshake(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Seed: 2, Primaries: 2, Zones: 2})
	w.CrashEvery(12)
	for n := range rotations(t) {
		rotate(w, n)
	}
	t.Log(w.Crashes(), "crashes")
	require.Greater(t, w.Crashes(), 5*rotations(t))
}

// TestCrashAtEachWriteOfARotation crashes the process that makes the n-th write of a
// rotation, once the write took effect and once not, for each n; for some of them
// where KEDGE_ROTATIONS is not set.
func TestCrashAtEachWriteOfARotation(t *testing.T) {
	stride := 1
	if os.Getenv("KEDGE_ROTATIONS") == "" {
		stride = 9
	}
	for n, crashed := 1, true; crashed; n += stride {
		for _, persisted := range []bool{false, true} {
			w := rotationtest.New(t, rotationtest.Config{Seed: uint64(n), Zones: 1, Replicas: 1, Step: 25 * time.Minute})
			next := w.NewRoot()
			w.CrashAtWrite(n, persisted)
			w.Start(primary.StartRequest{New: next})
			w.Until(rotation.Done)
			crashed = w.Crashes() > 0
		}
	}
}

func TestRotationsWithEveryFaultAtOnceBreakNoHandshake(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Seed: 3, Primaries: 2, Zones: 2})
	w.SetLinks(faultyLink)
	w.CrashEvery(20)
	for n := range rotations(t) {
		if n%2 == 0 {
			rotate(w, n)
			continue
		}
		w.Start(primary.StartRequest{New: w.NewRoot()})
		for range w.Chance(40) {
			w.Step()
		}
		if p := w.Plan(); p.Phase != rotation.Retiring && !p.IsOver() {
			w.Abort()
		}
		w.Until(rotation.Aborted, rotation.Done)
	}
}

func TestZonesThatJoinInEachPhaseAreTakenIn(t *testing.T) {
	for _, phase := range []rotation.Phase{rotation.Staged, rotation.Distributing, rotation.Activating, rotation.Draining, rotation.Retiring, rotation.Aborting} {
		t.Run(string(phase), func(t *testing.T) {
			w := rotationtest.New(t, rotationtest.Config{Zones: 2, Seed: 4})
			next := w.NewRoot()
			w.Start(primary.StartRequest{New: next})
			end := rotation.Done
			if phase == rotation.Aborting {
				w.Until(rotation.Draining)
				w.Abort()
				end = rotation.Aborted
			} else {
				w.Until(phase)
			}
			w.Join("late", "r0")
			w.Join("zone-0", "r9") // another replica of one that is there
			w.Settle()
			w.AddWorkload("late")
			w.Until(end)
			for range 20 {
				w.Step()
			}
			require.NotNil(t, w.Zones["late"][0].Authority.Intermediate())
			if end == rotation.Done {
				require.Equal(t, next, ca.AnchorIDOf(w.Zones["late"][0].Authority.Intermediate().Anchor()))
			}
		})
	}
}

// TestZoneThatSleptThroughThreeRotationsCatchesUp: its intermediate has ended, and no
// anchor that it knows is in the bundle any more.
func TestZoneThatSleptThroughThreeRotationsCatchesUp(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 2, Seed: 5, Step: 30 * time.Minute})
	asleep := w.Zones["zone-1"]
	for _, p := range asleep {
		p.Down = true
	}
	for n := range 3 {
		w.Start(primary.StartRequest{New: w.NewRoot()})
		w.Exclude("zone-1")
		w.Until(rotation.Done)
		require.Less(t, asleep[0].Authority.Bundle().Sequence(), w.Plan().Sequence, n)
	}
	for _, p := range asleep {
		p.Down = false
		p.Restart()
	}
	w.Settle()
	w.In("zone-1")
	w.AddWorkload("zone-1")
	require.Equal(t, w.Plan().New, ca.AnchorIDOf(asleep[0].Authority.Intermediate().Anchor()))
	rotate(w, 0) // and takes part again
}

// TestExcludedZoneThatReturnsIsNotWaitedForToTheEndOfItsLease: once it and its
// verifiers hold what the others do, it takes part as they do.
func TestExcludedZoneThatReturnsIsNotWaitedForToTheEndOfItsLease(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 2, Seed: 8})
	away := w.Zones["zone-1"]
	lease := away[0].Authority.Intermediate().NotAfter()
	for _, p := range away {
		p.Down = true
	}
	w.Start(primary.StartRequest{New: w.NewRoot()})
	for range 10 {
		w.Step()
	}
	require.Equal(t, rotation.Distributing, w.Plan().Phase, "a silent zone holds it up")
	w.Exclude("zone-1")
	w.Until(rotation.Draining)
	for _, p := range away {
		p.Down = false
	}
	act := primary.Act{Actor: "uid:0", Action: "rotation.include-zone"}
	_, err := w.Primary().Change(t.Context(), act, func(p rotation.Plan, _ time.Time) (rotation.Plan, error) { return p.Include("zone-1") })
	require.NoError(t, err)
	w.Settle()
	w.In("zone-1")
	w.Until(rotation.Done)
	require.True(t, w.Plan().EndedAt.Before(lease.Add(-24*time.Hour)), "%s", w.Plan().EndedAt)
}

// TestEmergencyThatReissuesFirst drops the old anchor as soon as everybody has a new
// leaf, long before the last old one has ended.
func TestEmergencyThatReissuesFirst(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 2, Seed: 9, Workloads: 2})
	next := w.NewRoot()
	require.NoError(t, w.Primary().AddStandby(t.Context(), next, "uid:0"))
	for range 20 {
		w.Step()
	}
	began := w.Clock.Now()
	e := &rotation.Emergency{Actor: "uid:0", Reason: "stolen", At: began, Deadline: began.Add(rotationtest.LeafTTL / 2)}
	plan := w.Start(primary.StartRequest{New: next, Emergency: e})
	w.OldLeavesMayFail(plan.Old, e.Deadline)
	w.Until(rotation.Done)
	require.Less(t, w.Plan().EndedAt.Sub(began), rotationtest.LeafTTL)
	require.True(t, w.Plan().Emergency.Taken)
}

func TestRemovedZoneIsRefusedAndItsLeavesAreWaitedFor(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 2, Seed: 6, Step: 30 * time.Minute})
	removed := w.Zones["zone-1"][0]
	lease := removed.Authority.Intermediate().NotAfter()
	w.Start(primary.StartRequest{New: w.NewRoot()})
	w.Until(rotation.Draining)
	w.Remove("zone-1")
	w.Step()
	require.Equal(t, ca.ReasonZoneRemoved, ca.ReasonOf(removed.LastError))
	w.Until(rotation.Done)
	require.True(t, w.Clock.Now().After(w.Plan().Since.Add(-time.Hour)))
	require.False(t, w.Plan().EndedAt.Before(lease), "%s ended before the lease of the removed zone, %s", w.Plan().EndedAt, lease)
}

// TestHarnessSeesABrokenHandshake: an emergency that drops an anchor at once breaks
// what lives under it, and the world has to notice.
func TestHarnessSeesABrokenHandshake(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Seed: 7})
	seen := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.T = seen
		next := w.NewRoot()
		e := &rotation.Emergency{Distrust: true, Actor: "uid:0", Reason: "stolen", At: w.Clock.Now()}
		w.Start(primary.StartRequest{New: next, Emergency: e})
		w.Until(rotation.Done)
	}()
	<-done
	require.Contains(t, seen.text, "S1: leaf of")
}

// failing is a test whose failure is what is expected of it.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Errorf(format string, args ...any) { f.text += fmt.Sprintf(format, args...) }
func (f *failing) FailNow()                          { runtime.Goexit() }
