package simulate_test

import (
	"context"
	"encoding/json"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips/fipstest"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/simulate"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

func hours(n float64) simulate.Duration { return simulate.Duration(n * float64(time.Hour)) }

// small is a scenario that is over in a moment.
func small() simulate.Scenario {
	s := simulate.Default()
	s.Seed, s.Zones, s.Consumers, s.Push, s.Step = 1, 6, 200, 0.2, simulate.Duration(5*time.Minute)
	return s
}

func run(t *testing.T, s simulate.Scenario) simulate.Result {
	t.Helper()
	r, err := simulate.Run(t.Context(), s)
	require.NoError(t, err)
	return r
}

func phases(r simulate.Result) []rotation.Phase {
	var all []rotation.Phase
	for _, p := range r.Phases {
		all = append(all, p.Phase)
	}
	return all
}

func codes(r simulate.Result) []rotation.Code {
	var all []rotation.Code
	for _, h := range r.Blockers {
		all = append(all, h.Code)
	}
	return all
}

// TestOrdinaryRotationBreaksNothing: a lifetime of leaves until everybody has the
// bundle, and another until the last old leaf is dead.
func TestOrdinaryRotationBreaksNothing(t *testing.T) {
	r := run(t, small())
	require.Equal(t, rotation.Done, r.Ended)
	require.Zero(t, r.Broken)
	require.Zero(t, r.Stranded)
	require.Equal(t, []rotation.Phase{rotation.Staged, rotation.Distributing, rotation.Activating, rotation.Draining, rotation.Retiring}, phases(r))
	require.InDelta(t, 48, time.Duration(r.Took).Hours(), 3)
	require.Less(t, r.Bundle.P50, r.Bundle.P99)
	require.LessOrEqual(t, r.Bundle.P99, r.Bundle.P100)
	require.Less(t, r.Leaves.P100, hours(3), "renewals were pulled forward")
	require.Greater(t, r.Rate.Unspread, r.Rate.Peak)
}

func TestSameSeedGivesTheSameResult(t *testing.T) {
	s := small()
	s.Loss = 0.3
	one, err := json.Marshal(run(t, s))
	require.NoError(t, err)
	two, err := json.Marshal(run(t, s))
	require.NoError(t, err)
	require.Equal(t, string(one), string(two))
	s.Seed++
	other, err := json.Marshal(run(t, s))
	require.NoError(t, err)
	require.NotEqual(t, string(one), string(other))
}

// TestStandbyNeedsNoDistribution, and without pulling renewals forward the leaves
// follow as they are renewed.
func TestStandbyNeedsNoDistribution(t *testing.T) {
	s := small()
	s.Standby, s.Reissue = true, false
	r := run(t, s)
	require.Equal(t, rotation.Done, r.Ended)
	require.InDelta(t, 25, time.Duration(r.Took).Hours(), 3, "the last old leaf is signed until activation, and lives a day")
	require.Zero(t, r.Bundle.P100)
	require.Greater(t, r.Leaves.P50, hours(4))
	require.Zero(t, r.Rate.Unspread)
}

// TestSilentZoneIsWaitedForUntilItIsExcluded: it goes on under its intermediate, which
// bounds the wait.
func TestSilentZoneIsWaitedForUntilItIsExcluded(t *testing.T) {
	s := small()
	s.Standby, s.Limit = true, hours(20*24)
	s.Silences = []simulate.Silence{{Zones: 1}}
	waits := run(t, s)
	require.Equal(t, rotation.Distributing, waits.Ended)
	require.Contains(t, codes(waits), rotation.CodeSilent)

	s.Silences[0].Exclude = true
	r := run(t, s)
	require.Equal(t, rotation.Done, r.Ended)
	require.Greater(t, r.Took, hours(3*24))
	require.Less(t, r.Took, hours(9*24))
	require.Zero(t, r.Broken)

	s.Silences[0].For = hours(10)
	back := run(t, s)
	require.Equal(t, rotation.Done, back.Ended)
	require.Less(t, back.Took, hours(2.5*24), "who returns and answers is waited for no longer")
	require.Zero(t, back.Broken)
}

// TestStormIsIssuedAsFastAsItCanBe and delays, but breaks nothing.
func TestStormIsIssuedAsFastAsItCanBe(t *testing.T) {
	s := small()
	s.Standby, s.Capacity, s.Consumers = true, 1, 4000
	s.Storms = []simulate.Storm{{At: hours(2), Share: 1}}
	r := run(t, s)
	require.Equal(t, rotation.Done, r.Ended)
	require.Equal(t, 12.0, r.Rate.Peak, "12 replicas")
	require.Zero(t, r.Broken)
}

func TestManualRotationWaitsForItsOperator(t *testing.T) {
	s := small()
	s.Standby, s.Mode, s.Operator = true, rotation.ModeManual, hours(5)
	r := run(t, s)
	require.Equal(t, rotation.Done, r.Ended)
	require.Contains(t, codes(r), rotation.CodeAdvance)
	require.Greater(t, r.Took, hours(24+3*5))
}

func TestAbortComesBack(t *testing.T) {
	s := small()
	s.Standby, s.AbortAt = true, hours(2)
	r := run(t, s)
	require.Equal(t, rotation.Aborted, r.Ended)
	require.Contains(t, phases(r), rotation.Aborting)
	require.Zero(t, r.Broken)
}

// TestEmergencyCostsWhatItSays: reissue first strands nobody, distrust everybody.
func TestEmergencyCostsWhatItSays(t *testing.T) {
	s := small()
	s.Standby = true
	s.Emergency = &simulate.Emergency{At: hours(1), Percent: 90, Deadline: hours(10)}
	r := run(t, s)
	require.Equal(t, rotation.Done, r.Ended)
	require.Less(t, r.Took, hours(6))
	require.Zero(t, r.Stranded)

	s.Emergency = &simulate.Emergency{Distrust: true}
	r = run(t, s)
	require.Equal(t, rotation.Done, r.Ended)
	require.InDelta(t, 6*200, r.Stranded, 12)
	require.Less(t, r.Took, hours(3), "until the last has a new leaf")
}

// TestMemoryDoesNotGrowWithVirtualTime: a rotation that never ends, for a week and for
// a month.
func TestMemoryDoesNotGrowWithVirtualTime(t *testing.T) {
	used := func(limit simulate.Duration) uint64 {
		s := small()
		s.Silences, s.Limit = []simulate.Silence{{Zones: 1, Dead: true}}, limit
		run(t, s)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.Sys
	}
	week := used(hours(7 * 24))
	require.Less(t, used(hours(30*24)), week+16<<20)
}

func TestScenarioThatCannotBeIsRefused(t *testing.T) {
	for want, change := range map[string]func(*simulate.Scenario){
		"zones: needs":     func(s *simulate.Scenario) { s.Zones = 0 },
		"consumers: needs": func(s *simulate.Scenario) { s.Consumers = 1 << 20 },
		"loss: is a share": func(s *simulate.Scenario) { s.Loss = 1 },
		"renewAt: is":      func(s *simulate.Scenario) { s.RenewAt = 0.95 },
		"step: a leaf":     func(s *simulate.Scenario) { s.Step = s.LeafTTL },
		"limit: is":        func(s *simulate.Scenario) { s.Limit = 0 },
		"intermediate:":    func(s *simulate.Scenario) { s.Intermediate = 1 },
		"capacity: is":     func(s *simulate.Scenario) { s.Capacity = 0 },
		"mode: is":         func(s *simulate.Scenario) { s.Mode = "hasty" },
		"silences[0]":      func(s *simulate.Scenario) { s.Silences = []simulate.Silence{{Zones: 9}} },
		"storms[0]":        func(s *simulate.Scenario) { s.Storms = []simulate.Storm{{Share: 2}} },
		"window: window":   func(s *simulate.Scenario) { s.Window = "always" },
	} {
		s := small()
		change(&s)
		_, err := simulate.Run(t.Context(), s)
		require.ErrorContains(t, err, want)
	}
}

func TestSimulationStopsWhenItIsToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := simulate.Run(ctx, small())
	require.ErrorIs(t, err, context.Canceled)
}

func TestDurationIsWrittenWithItsUnit(t *testing.T) {
	var d simulate.Duration
	require.NoError(t, d.UnmarshalText([]byte("90m")))
	require.Equal(t, "1h30m0s", d.String())
	require.Equal(t, "never", simulate.Never.String())
	require.Error(t, d.UnmarshalText([]byte("90")))
	require.Error(t, d.UnmarshalText([]byte("-1m")))
}
