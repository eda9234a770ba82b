package rotationtest_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
	"github.com/kedge-ca/kedge/rotation/rotationtest"
)

// troubles are what happens in a rotation beside what goes wrong all the time. Each
// starts the rotation and brings it to its end.
var troubles = []struct {
	name string
	do   func(w *rotationtest.World, n int)
}{
	{"none", func(w *rotationtest.World, n int) { rotate(w, n) }},
	{"aborted while it distributes", abortIn(rotation.Distributing)},
	{"a zone cut off", apart(rotationtest.Link{Cut: true})},
	{"a replica joins", joinInBetween},
	{"aborted while it activates", abortIn(rotation.Activating)},
	{"a zone that hears nothing", apart(rotationtest.Link{Deaf: true})},
	{"a second start", startTwice},
	{"aborted while it drains", abortIn(rotation.Draining)},
	{"a zone that is not heard", apart(rotationtest.Link{Mute: true})},
	{"aborted at any time", func(w *rotationtest.World, _ int) {
		begin(w)
		wander(w, 40)
		abort(w)
	}},
}

func begin(w *rotationtest.World) ca.AnchorID {
	next := w.NewRoot()
	w.Start(primary.StartRequest{New: next})
	return next
}

// wander makes less than n steps.
func wander(w *rotationtest.World, n int) {
	for range w.Chance(n) {
		w.Step()
	}
}

// abort turns the rotation round where that is possible.
func abort(w *rotationtest.World) {
	if p := w.Plan(); p.Phase != rotation.Retiring && !p.IsOver() {
		w.Abort()
	}
	w.Until(rotation.Aborted, rotation.Done)
}

func abortIn(phase rotation.Phase) func(*rotationtest.World, int) {
	return func(w *rotationtest.World, _ int) {
		begin(w)
		w.Until(phase, rotation.Draining, rotation.Retiring, rotation.Done)
		wander(w, 4)
		abort(w)
	}
}

// apart cuts a zone's replicas off for some hours of the rotation, from a time that is
// left to chance.
func apart(cut rotationtest.Link) func(*rotationtest.World, int) {
	return func(w *rotationtest.World, n int) {
		zone := w.Zones[rotation.Zone(fmt.Sprintf("zone-%d", n%3))]
		begin(w)
		wander(w, 8)
		for _, p := range zone {
			p.Link = cut
		}
		wander(w, 24)
		for _, p := range zone {
			p.Link = faultyLink
		}
		w.Until(rotation.Done)
	}
}

func joinInBetween(w *rotationtest.World, n int) {
	begin(w)
	wander(w, 12)
	w.CrashEvery(0) // the joining replica is no process of the world yet
	w.Join("zone-0", fmt.Sprintf("late-%d", n))
	w.CrashEvery(crashes)
	w.Until(rotation.Done)
}

func startTwice(w *rotationtest.World, _ int) {
	first := begin(w)
	wander(w, 12)
	if w.Plan().IsOver() {
		return
	}
	_, err := w.Primary().Start(w.T.Context(), primary.StartRequest{New: w.NewRoot(), Actor: "uid:0", Reason: "another one"})
	require.ErrorContains(w.T, err, w.Plan().ID)
	w.Until(rotation.Done)
	require.Equal(w.T, first, w.Plan().New)
}

const (
	crashes  = 60 // one at about so many writes
	perWorld = 5  // rotations
)

// TestHandshakesThroughRotationsWithFaults is the fault suite: rotations in which
// processes crash at their writes, links lose, delay, repeat and reorder, clocks are
// off by a minute, and one trouble each; all workloads call each other over TLS after
// each event, and one call that fails fails the test. KEDGE_ROTATIONS says how many.
func TestHandshakesThroughRotationsWithFaults(t *testing.T) {
	total := rotations(t)
	begun := time.Now()
	var mu sync.Mutex
	var rotated, handshakes, failed, faults int
	t.Run("worlds", func(t *testing.T) {
		for first := 0; first < total; first += perWorld {
			t.Run(fmt.Sprint(first), func(t *testing.T) {
				t.Parallel()
				w := rotationtest.New(t, rotationtest.Config{Seed: uint64(1000 + first), Primaries: 2, Skew: time.Minute, Handshakes: true, Link: faultyLink})
				w.CrashEvery(crashes)
				n := first
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					rotated, handshakes, failed, faults = rotated+n-first, handshakes+w.Handshakes, failed+w.Failed, faults+w.Faults.All()
				}()
				for ; n < min(first+perWorld, total); n++ {
					trouble := troubles[n%len(troubles)]
					trouble.do(w, n)
					t.Logf("rotation %d, %s: %s after %s, %d handshakes so far, %+v", n, trouble.name, w.Plan().Phase, w.Plan().EndedAt.Sub(w.Plan().StartedAt), w.Handshakes, w.Faults)
				}
			})
		}
	})
	t.Logf("figure: %d rotations, %d handshakes, %d faults, %d failed, in %s", rotated, handshakes, faults, failed, time.Since(begun).Round(time.Second))
	require.Zero(t, failed)
	require.Greater(t, handshakes, 1000*rotated)
}
