package rotation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

var (
	start    = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	oldID    = ca.AnchorID{1}
	newID    = ca.AnchorID{2}
	lifetime = 24 * time.Hour
	skew     = 5 * time.Minute
)

func begin() rotation.Start {
	return rotation.Start{
		ID: "r1", Old: oldID, New: newID, OldEnd: start.Add(365 * 24 * time.Hour), LeafTTL: lifetime, Skew: skew,
		Epoch: 7, Sequence: 41, Zones: []rotation.Zone{"canary", "eu-1", "eu-2"},
	}
}

func TestPlanThatCannotWorkIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*rotation.Start)
		want   string
	}{
		"no id":            {func(s *rotation.Start) { s.ID = "" }, "needs an id"},
		"one anchor":       {func(s *rotation.Start) { s.New = s.Old }, "two anchors"},
		"no bundle":        {func(s *rotation.Start) { s.Sequence = 0 }, "sequence of the bundle"},
		"no zone":          {func(s *rotation.Start) { s.Zones = nil }, "without a zone"},
		"a zone twice":     {func(s *rotation.Start) { s.Zones = []rotation.Zone{"a", "a"} }, "named twice"},
		"a nameless zone":  {func(s *rotation.Start) { s.Zones = []rotation.Zone{""} }, "is empty"},
		"no leaf lifetime": {func(s *rotation.Start) { s.LeafTTL = 0 }, "longest lifetime"},
		"too late":         {func(s *rotation.Start) { s.OldEnd = start.Add(lifetime) }, "had to start by 2026-11-24T11:50:00Z"},
	} {
		s := begin()
		row.change(&s)
		_, err := rotation.New(s, start)
		require.ErrorContains(t, err, row.want, name)
	}
}

// everybody is a report of each zone that says the same.
func everybody(r rotation.Report) []rotation.Report {
	var all []rotation.Report
	for _, z := range begin().Zones {
		r.Zone = z
		all = append(all, r)
	}
	return all
}

// TestPlanGoesThroughItsPhases is a rotation in which everybody answers.
func TestPlanGoesThroughItsPhases(t *testing.T) {
	p, err := rotation.New(begin(), start)
	require.NoError(t, err)
	out := p.Next(start, nil)
	require.Equal(t, rotation.Distributing, out.Plan.Phase)
	require.Equal(t, []rotation.Step{{Publish: rotation.Publication{Sequence: 42, Anchors: []ca.AnchorID{oldID, newID}}}}, out.Steps)

	waiting := out.Plan.Next(start, everybody(rotation.Report{Epoch: 7, Signer: oldID, Sequence: 42, Coverage: 41}))
	require.Equal(t, rotation.Distributing, waiting.Plan.Phase)
	require.Equal(t, rotation.Blocker{Zone: "canary", Why: "a verifier last saw bundle 41, not 42"}, waiting.Blockers[0])
	require.Len(t, waiting.Blockers, 3)

	held := rotation.Report{Epoch: 7, Signer: oldID, Sequence: 42, Coverage: 42, HighWater: map[ca.AnchorID]time.Time{oldID: start.Add(lifetime)}}
	out = out.Plan.Next(start, everybody(held))
	require.Equal(t, rotation.Activating, out.Plan.Phase)
	require.EqualValues(t, 8, out.Plan.Epoch)
	require.Equal(t, rotation.Command{Zone: "canary", Signer: newID, Epoch: 8}, out.Steps[1].Command, "the canary first, and alone")
	require.Len(t, out.Steps, 2)

	moved := rotation.Report{Epoch: 8, Signer: newID, Sequence: 42, Coverage: 42, HighWater: held.HighWater}
	reports := everybody(held)
	reports[0] = moved
	reports[0].Zone = "canary"
	out = out.Plan.Next(start, reports)
	require.Equal(t, rotation.Activating, out.Plan.Phase)
	require.Len(t, out.Steps, 3, "the next one, once the canary has reported")

	out = out.Plan.Next(start, everybody(moved))
	require.Equal(t, rotation.Draining, out.Plan.Phase)
	require.Equal(t, start.Add(lifetime), out.Plan.HighWater)

	out = out.Plan.Next(start.Add(lifetime+skew), everybody(moved))
	require.Equal(t, rotation.Draining, out.Plan.Phase, "to the last second of the slowest clock")
	require.Equal(t, start.Add(lifetime+skew), out.Blockers[0].Until)

	counted := moved
	counted.Countable = map[ca.AnchorID]int{oldID: 12}
	out = out.Plan.Next(start.Add(lifetime+skew+time.Second), everybody(counted))
	require.Equal(t, rotation.Draining, out.Plan.Phase, "leaves that are counted are leaves, whatever a clock says")

	out = out.Plan.Next(start.Add(lifetime+skew+time.Second), everybody(moved))
	require.Equal(t, rotation.Retiring, out.Plan.Phase)
	require.Equal(t, rotation.Publication{Sequence: 43, Anchors: []ca.AnchorID{newID}}, out.Steps[0].Publish)
	_, err = out.Plan.Abort(start)
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err), "forward only")

	last := moved
	last.Sequence, last.Coverage = 43, 43
	out = out.Plan.Next(start, everybody(last))
	require.True(t, out.Plan.IsOver())
	require.Equal(t, rotation.Done, out.Plan.Phase)
}

func TestSilentZoneBlocksAndIsNamed(t *testing.T) {
	p, err := rotation.New(begin(), start)
	require.NoError(t, err)
	p = p.Next(start, nil).Plan
	held := everybody(rotation.Report{Epoch: 7, Signer: oldID, Sequence: 42, Coverage: 42})
	out := p.Next(start, held[:2])
	require.Equal(t, []rotation.Blocker{{Zone: "eu-2", Why: "it has not reported"}}, out.Blockers)
	require.Equal(t, rotation.Distributing, out.Plan.Phase)
}

// TestExcludedZoneIsWaitedForAsLongAsItCanSign: a zone that nobody hears of still has
// an intermediate under the old anchor, and ends with it.
func TestExcludedZoneIsWaitedForAsLongAsItCanSign(t *testing.T) {
	p, err := rotation.New(begin(), start)
	require.NoError(t, err)
	p = p.Next(start, nil).Plan
	lease := start.Add(6 * 24 * time.Hour)
	_, err = p.Exclude("eu-2", "", lease)
	require.ErrorContains(t, err, "a reason")
	_, err = p.Exclude("mars", "gone", lease)
	require.Error(t, err)
	p, err = p.Exclude("eu-2", "the region is lost", lease)
	require.NoError(t, err)
	p = p.Next(start, everybody(rotation.Report{Epoch: 7, Signer: oldID, Sequence: 42, Coverage: 42})[:2]).Plan
	moved := everybody(rotation.Report{Epoch: 8, Signer: newID, Sequence: 42, Coverage: 42})[:2]
	p = p.Next(start, moved).Plan
	require.Equal(t, rotation.Draining, p.Phase)
	out := p.Next(lease, moved)
	require.Equal(t, rotation.Draining, out.Plan.Phase)
	require.Equal(t, lease.Add(skew), out.Blockers[0].Until)
	require.Equal(t, rotation.Retiring, p.Next(lease.Add(skew+time.Second), moved).Plan.Phase)
}

func TestAbortDrainsWhatItHasSigned(t *testing.T) {
	p, err := rotation.New(begin(), start)
	require.NoError(t, err)
	early, err := p.Abort(start)
	require.NoError(t, err)
	require.Equal(t, rotation.Aborted, early.Phase)
	require.Empty(t, early.Next(start, nil).Steps, "nothing was published")

	p = p.Next(start, nil).Plan
	published, err := p.Abort(start)
	require.NoError(t, err)
	require.Equal(t, rotation.Aborted, published.Phase)
	require.Equal(t, rotation.Publication{Sequence: 43, Anchors: []ca.AnchorID{oldID}}, published.Next(start, nil).Steps[0].Publish, "a higher sequence, never the old one again")

	p = p.Next(start, everybody(rotation.Report{Epoch: 7, Signer: oldID, Sequence: 42, Coverage: 42})).Plan
	p, err = p.Abort(start)
	require.NoError(t, err)
	require.Equal(t, rotation.Aborting, p.Phase)
	again, err := p.Abort(start)
	require.NoError(t, err)
	require.Equal(t, p, again)
	back := everybody(rotation.Report{Epoch: 9, Signer: oldID, Sequence: 42, Coverage: 42, HighWater: map[ca.AnchorID]time.Time{newID: start.Add(time.Hour)}})
	out := p.Next(start, back)
	require.Equal(t, rotation.Aborting, out.Plan.Phase)
	require.Equal(t, start.Add(time.Hour+skew), out.Blockers[0].Until)
	out = out.Plan.Next(start.Add(time.Hour+skew+time.Second), back)
	require.Equal(t, rotation.Aborted, out.Plan.Phase)
	require.EqualValues(t, 43, out.Plan.Sequence)
}

func TestMergeSaysOnlyWhatHoldsOfEachReplica(t *testing.T) {
	merged, ok := rotation.Merge([]rotation.Report{
		{Zone: "a", Epoch: 8, Signer: newID, Sequence: 42, Coverage: 41, HighWater: map[ca.AnchorID]time.Time{oldID: start}, Countable: map[ca.AnchorID]int{oldID: 1}},
		{Zone: "a", Epoch: 7, Signer: oldID, Sequence: 41, Coverage: 42, HighWater: map[ca.AnchorID]time.Time{oldID: start.Add(time.Hour)}, Countable: map[ca.AnchorID]int{oldID: 2}},
	})
	require.True(t, ok)
	require.Equal(t, rotation.Report{
		Zone: "a", Epoch: 7, Sequence: 41, Coverage: 41,
		HighWater: map[ca.AnchorID]time.Time{oldID: start.Add(time.Hour)}, Countable: map[ca.AnchorID]int{oldID: 3},
	}, merged)
	_, ok = rotation.Merge(nil)
	require.False(t, ok)
}
