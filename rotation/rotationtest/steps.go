package rotationtest

import (
	"maps"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// Step lets every process act once, in an order that is left to chance, and every
// workload renew whose time has come; then the clock goes on. The world is checked
// after each of these events.
func (w *World) Step() {
	w.T.Helper()
	var all []*Process
	for _, zone := range slices.Sorted(maps.Keys(w.Zones)) {
		all = append(all, w.Zones[zone]...)
	}
	for n := len(all) - 1; n > 0; n-- {
		m := w.chance.upTo(n + 1)
		all[n], all[m] = all[m], all[n]
	}
	for _, p := range all {
		_ = p.step(w.T.Context()) // kept in LastError: a fault ends no step
		w.Check()
	}
	now := w.Clock.Now()
	for _, l := range w.Workloads {
		if last, ok := l.last(now); !ok || !now.Before(last.RenewAt) {
			w.renew(l)
			w.Check()
		}
	}
	w.Clock.Advance(w.config.Step)
	w.Check()
}

// Settle lets everybody act until every replica can issue.
func (w *World) Settle() {
	w.T.Helper()
	for range 20 {
		w.Step()
		ready := true
		for _, replicas := range w.Zones {
			for _, p := range replicas {
				ready = ready && (p.Down || p.Authority.Ready(p.now()) == nil)
			}
		}
		if ready {
			return
		}
	}
	require.FailNow(w.T, "a replica has no intermediate", "%s", w.Describe())
}

// Start starts a rotation.
func (w *World) Start(r primary.StartRequest) rotation.Plan {
	w.T.Helper()
	if r.Actor == "" {
		r.Actor, r.Reason = "uid:0", "a test"
	}
	plan, err := w.Primary().Start(w.T.Context(), r)
	require.NoError(w.T, err)
	return plan
}

// maxSteps bounds a rotation: what has not ended by then is stuck.
const maxSteps = 400

// Until steps until the plan is in a phase.
func (w *World) Until(phases ...rotation.Phase) {
	w.T.Helper()
	for range maxSteps {
		if slices.Contains(phases, w.Plan().Phase) {
			return
		}
		w.Step()
	}
	require.FailNow(w.T, "the rotation is stuck", "%s", w.Describe())
}

// Abort turns the plan round.
func (w *World) Abort() {
	w.T.Helper()
	act := primary.Act{Actor: "uid:0", Action: "rotation.abort", Detail: map[string]string{"because": "a test"}}
	_, err := w.Primary().Change(w.T.Context(), act, func(p rotation.Plan, now time.Time) (rotation.Plan, error) {
		return p.Abort("uid:0", "a test", now)
	})
	require.NoError(w.T, err)
}

// Exclude lets the plan go on without a zone, whose verifiers do not count then.
func (w *World) Exclude(zone rotation.Zone) {
	w.T.Helper()
	act := primary.Act{Actor: "uid:0", Action: "rotation.exclude-zone", Detail: map[string]string{"because": "a test"}}
	_, err := w.Primary().Exclude(w.T.Context(), zone, act)
	require.NoError(w.T, err)
	w.Out(zone)
}

// Eventually tries something after each step until it succeeds.
func (w *World) Eventually(do func() error) {
	w.T.Helper()
	err := do()
	for n := 0; err != nil && n < 20; n++ {
		w.Step()
		err = do()
	}
	require.NoError(w.T, err)
}

// SetLinks gives every process a link with these faults.
func (w *World) SetLinks(l Link) {
	w.config.Link = l
	for _, replicas := range w.Zones {
		for _, p := range replicas {
			p.Link = l
		}
	}
}

// Chance is a number below n that the seed decides.
func (w *World) Chance(n int) int { return w.chance.upTo(n) }

// SetAutomatic makes the plan automatic again.
func (w *World) SetAutomatic() {
	w.T.Helper()
	act := primary.Act{Actor: "uid:0", Action: "rotation.mode"}
	_, err := w.Primary().Change(w.T.Context(), act, func(p rotation.Plan, _ time.Time) (rotation.Plan, error) {
		if p.IsOver() {
			return p, nil
		}
		return p.SetMode(rotation.ModeAuto)
	})
	require.NoError(w.T, err)
}

// Reopen opens the first process of the primary once more over what is stored.
func (w *World) Reopen() error {
	_, err := primary.Open(w.T.Context(), w.Primaries[0].settings())
	return err
}
