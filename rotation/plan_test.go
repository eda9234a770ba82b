package rotation_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

var (
	start    = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) // a Tuesday
	oldID    = ca.AnchorID{1}
	newID    = ca.AnchorID{2}
	lifetime = 24 * time.Hour
	skew     = 5 * time.Minute
)

func begin() rotation.Start {
	return rotation.Start{
		ID: "r1", Old: oldID, New: newID, OldEnd: start.Add(365 * 24 * time.Hour), LeafTTL: lifetime, Skew: skew,
		Epoch: 7, Sequence: 41, Zones: []rotation.Zone{"canary", "eu-1", "eu-2"}, Mode: rotation.ModeAuto, Actor: "ada",
	}
}

func command(zone rotation.Zone, signer ca.AnchorID, epoch uint64) rotation.Command {
	return rotation.Command{Zone: zone, Command: ca.Command{Signer: signer, Epoch: epoch}}
}

// report is that of a zone's one replica, which has just come.
func report(zone rotation.Zone, epoch uint64, signer ca.AnchorID, sequence uint64) rotation.Report {
	return rotation.Report{
		Zone: zone, Replica: "0", Epoch: epoch, Signer: signer, Sequence: sequence, Received: start,
		Coverage: map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: sequence, Live: 9880}},
	}
}

// everybody is a report of each zone that says the same.
func everybody(epoch uint64, signer ca.AnchorID, sequence uint64) []rotation.Report {
	var all []rotation.Report
	for _, z := range begin().Zones {
		all = append(all, report(z, epoch, signer, sequence))
	}
	return all
}

// at says of reports that they came at t.
func at(t time.Time, reports []rotation.Report) []rotation.Report {
	var all []rotation.Report
	for _, r := range reports {
		r.Received = t
		all = append(all, r)
	}
	return all
}

// drains sets the end of the leaves under an anchor in reports.
func drains(reports []rotation.Report, anchor ca.AnchorID, end time.Time) []rotation.Report {
	for i := range reports {
		reports[i].HighWater = map[ca.AnchorID]time.Time{anchor: end}
	}
	return reports
}

func made(t *testing.T, change func(*rotation.Start)) rotation.Plan {
	t.Helper()
	s := begin()
	if change != nil {
		change(&s)
	}
	p, err := rotation.New(s, start)
	require.NoError(t, err)
	return p
}

// soon is when evidence of start has settled: at every clock.
var soon = start.Add(2 * skew)

// settled is what follows from reports that stay what they are from start until soon.
func settled(p rotation.Plan, reports []rotation.Report) rotation.Outcome {
	return p.Next(start, reports).Plan.Next(soon, at(soon, reports))
}

// in is a plan in a phase, by reports that let it come there.
func in(t *testing.T, phase rotation.Phase, change func(*rotation.Start)) rotation.Plan {
	t.Helper()
	p := made(t, change)
	for _, reports := range [][]rotation.Report{nil, everybody(7, oldID, 42), everybody(7, oldID, 42), everybody(8, newID, 42), everybody(8, newID, 42), everybody(8, newID, 42)} {
		if p.Phase == phase {
			return p
		}
		p = p.Next(soon, at(soon, reports)).Plan
		if !p.Evident.IsZero() {
			p.Evident = start // it has been so for a while
		}
	}
	require.Equal(t, phase, p.Phase)
	return p
}

func codes(blockers []rotation.Blocker) []rotation.Code {
	var all []rotation.Code
	for _, b := range blockers {
		all = append(all, b.Code)
	}
	return all
}

func TestPlanThatCannotWorkIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*rotation.Start)
		want   string
	}{
		"no id":                {func(s *rotation.Start) { s.ID = "" }, "needs an id"},
		"one anchor":           {func(s *rotation.Start) { s.New = s.Old }, "two anchors"},
		"no bundle":            {func(s *rotation.Start) { s.Sequence = 0 }, "sequence of the bundle"},
		"a standby to come":    {func(s *rotation.Start) { s.Standby = 42 }, "bundle 41 is in force"},
		"no zone":              {func(s *rotation.Start) { s.Zones = nil }, "without a zone"},
		"a zone twice":         {func(s *rotation.Start) { s.Zones = []rotation.Zone{"a", "a"} }, "named twice"},
		"a nameless zone":      {func(s *rotation.Start) { s.Zones = []rotation.Zone{""} }, "is empty"},
		"no leaf lifetime":     {func(s *rotation.Start) { s.LeafTTL = 0 }, "longest lifetime"},
		"an unknown mode":      {func(s *rotation.Start) { s.Mode = "hasty" }, "neither manual nor auto"},
		"too late":             {func(s *rotation.Start) { s.OldEnd = start.Add(lifetime) }, "had to start by 2026-11-23T11:40:00Z"},
		"too late for standby": {func(s *rotation.Start) { s.OldEnd, s.Standby = start.Add(lifetime), 40 }, "had to start by 2026-11-24T11:40:00Z"},
		"too late to dwell":    {func(s *rotation.Start) { s.OldEnd, s.Dwell = start.Add(3*lifetime), lifetime }, "had to start by 2026-11-23T11:40:00Z"},
		"an empty emergency":   {func(s *rotation.Start) { s.Emergency = &rotation.Emergency{} }, "needs an actor"},
	} {
		s := begin()
		row.change(&s)
		_, err := rotation.New(s, start)
		require.ErrorContains(t, err, row.want, name)
	}
}

// TestPlanGoesThroughItsPhases is a rotation in which everybody answers.
func TestPlanGoesThroughItsPhases(t *testing.T) {
	out := made(t, nil).Next(start, nil)
	require.Equal(t, rotation.Distributing, out.Plan.Phase)
	both := rotation.Publication{Sequence: 42, Active: oldID, With: []ca.AnchorID{oldID, newID}}
	require.Equal(t, []rotation.Step{{Publish: both}}, out.Steps)

	held := drains(everybody(7, oldID, 42), oldID, start.Add(lifetime))
	waits := out.Plan.Next(start, held)
	require.Equal(t, []rotation.Code{rotation.CodeCoverage}, codes(waits.Blockers), "a verifier that no report counts may live at a clock that is slow")
	require.Equal(t, soon, waits.Blockers[0].Until)
	out = settled(out.Plan, held)
	require.Equal(t, rotation.Activating, out.Plan.Phase)
	require.EqualValues(t, 8, out.Plan.Epoch)
	require.Equal(t, []rotation.Step{{Publish: both}, {Command: command("canary", newID, 8)}}, out.Steps, "the canary first, and alone")
	require.Equal(t, ca.Command{Signer: newID, Epoch: 8}, out.Plan.CommandFor("canary"))
	require.Equal(t, ca.Command{Signer: oldID, Epoch: 7}, out.Plan.CommandFor("eu-1"))

	moved := drains(everybody(8, newID, 42), oldID, start.Add(lifetime))
	out = out.Plan.Next(start, append(moved[:1:1], held[1:]...))
	require.Equal(t, rotation.Activating, out.Plan.Phase)
	require.Len(t, out.Steps, 3, "the next one, once the canary has reported")
	require.Equal(t, []rotation.Blocker{{Zone: "eu-1", Replica: "0", Code: rotation.CodeEpoch, Why: "its report answers command 7, not 8"}}, out.Blockers, "who was not told yet holds nobody up")

	out = out.Plan.Next(start, moved)
	require.Equal(t, rotation.Draining, out.Plan.Phase)
	out = out.Plan.Next(start, moved)
	require.Equal(t, start.Add(lifetime), out.Plan.HighWater)

	dead := start.Add(lifetime + skew)
	out = out.Plan.Next(dead, at(dead, moved))
	require.Equal(t, rotation.Draining, out.Plan.Phase, "to the last second of the slowest clock")
	require.Equal(t, dead, out.Blockers[0].Until)

	after := dead.Add(time.Second)
	counted := at(after, moved)
	counted[2].Live = map[ca.AnchorID]int{oldID: 1212}
	out = out.Plan.Next(after, counted)
	require.Equal(t, []rotation.Blocker{{Zone: "eu-2", Code: rotation.CodeLiveLeaves, Why: "1 212 live leaves are under 01000000"}}, out.Blockers, "leaves that are counted are leaves, whatever a clock says")

	out = out.Plan.Next(after, at(after, moved))
	require.Equal(t, rotation.Retiring, out.Plan.Phase)
	require.Equal(t, rotation.Publication{Sequence: 43, Active: newID, With: []ca.AnchorID{newID}, Without: []ca.AnchorID{oldID}}, out.Steps[0].Publish)
	_, err := out.Plan.Abort("ada", "too late", start)
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err), "forward only")

	out = out.Plan.Next(after, at(after, moved))
	require.Equal(t, []rotation.Code{rotation.CodeBundleBehind, rotation.CodeBundleBehind, rotation.CodeBundleBehind}, codes(out.Blockers))
	out = out.Plan.Next(after, at(after, everybody(8, newID, 43)))
	require.Equal(t, rotation.Done, out.Plan.Phase)
	require.Equal(t, after, out.Plan.EndedAt)
	require.True(t, out.Plan.IsOver())
}

// TestPlanSurvivesItsDocument: what the journal stores is the whole plan.
func TestPlanSurvivesItsDocument(t *testing.T) {
	p := made(t, func(s *rotation.Start) {
		s.Window, _ = rotation.ParseWindow("Mon,Tue 22:00-04:00")
		s.Dwell, s.ApprovalsNeeded = time.Hour, 2
		s.Emergency = &rotation.Emergency{Actor: "ada", Reason: "stolen", At: start}
	})
	text, err := json.Marshal(p)
	require.NoError(t, err)
	var again rotation.Plan
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, p, again)
}

// TestStandbyIsWaitedForAndNotPublishedAgain: an anchor that the bundle had before.
func TestStandbyIsWaitedForAndNotPublishedAgain(t *testing.T) {
	standby := func(s *rotation.Start) { s.Standby = 30 }
	out := made(t, standby).Next(start, nil)
	require.Equal(t, rotation.Distributing, out.Plan.Phase)
	require.Empty(t, out.Steps)
	require.EqualValues(t, 41, out.Plan.Sequence)

	waiting := out.Plan.Next(start, everybody(7, oldID, 29))
	require.Equal(t, rotation.CodeBundleBehind, waiting.Blockers[0].Code)
	aborted, err := out.Plan.Abort("ada", "to see", start)
	require.NoError(t, err)
	require.Empty(t, aborted.Next(start, nil).Steps, "it stays a standby")

	out = settled(out.Plan, everybody(7, oldID, 35))
	require.Equal(t, rotation.Activating, out.Plan.Phase, "35 is before 41 and has it")
	turned, err := out.Plan.Abort("ada", "to see", start)
	require.NoError(t, err)
	back := settled(turned, everybody(9, oldID, 41))
	require.Equal(t, rotation.Aborted, back.Plan.Phase)
	require.Empty(t, back.Steps, "it stays a standby")

	out = out.Plan.Next(start, everybody(8, newID, 41))
	require.Equal(t, rotation.Draining, out.Plan.Phase)
	out = settled(out.Plan, everybody(8, newID, 41))
	require.Equal(t, rotation.Publication{Sequence: 42, Active: newID, With: []ca.AnchorID{newID}, Without: []ca.AnchorID{oldID}}, out.Steps[0].Publish)
}

// TestBundleOfOthersIsObserved: who changes the bundle for another reason tells the
// plan first, and what proved the new anchor's distribution still does.
func TestBundleOfOthersIsObserved(t *testing.T) {
	p := in(t, rotation.Distributing, nil)
	p = p.Observe(45)
	require.EqualValues(t, 45, p.Sequence)
	require.EqualValues(t, 42, p.Needed)
	require.Equal(t, p, p.Observe(44), "sequences never fall")
	out := settled(p, everybody(7, oldID, 43))
	require.Equal(t, rotation.Activating, out.Plan.Phase)

	out = p.Next(start, everybody(7, oldID, 46))
	require.Equal(t, []rotation.Code{rotation.CodeForked, rotation.CodeForked, rotation.CodeForked}, codes(out.Blockers), "what nobody told of")
	require.Equal(t, rotation.Distributing, out.Plan.Phase)
}

func TestAbortDrainsWhatItHasSigned(t *testing.T) {
	_, err := made(t, nil).Abort("ada", "", start)
	require.ErrorContains(t, err, "a reason")
	early, err := made(t, nil).Abort("ada", "to see", start)
	require.NoError(t, err)
	require.Equal(t, rotation.Aborted, early.Phase)
	require.Equal(t, rotation.Decision{Actor: "ada", Reason: "to see", At: start}, early.AbortedBy)
	require.Empty(t, early.Next(start, nil).Steps, "nothing was published")

	published, err := in(t, rotation.Distributing, nil).Abort("ada", "to see", start)
	require.NoError(t, err)
	require.Equal(t, rotation.Aborted, published.Phase)
	require.Equal(t, rotation.Publication{Sequence: 43, Active: oldID, With: []ca.AnchorID{oldID}, Without: []ca.AnchorID{newID}},
		published.Next(start, nil).Steps[0].Publish, "a higher sequence, never the old one again")

	p, err := in(t, rotation.Activating, nil).Abort("ada", "to see", start)
	require.NoError(t, err)
	require.Equal(t, rotation.Aborting, p.Phase)
	again, err := p.Abort("ada", "again", start)
	require.NoError(t, err)
	require.Equal(t, p, again)
	back := drains(everybody(9, oldID, 42), newID, start.Add(time.Hour))
	out := p.Next(start, back)
	require.Equal(t, rotation.Aborting, out.Plan.Phase)
	require.Equal(t, start.Add(time.Hour+skew), out.Blockers[0].Until)
	dead := start.Add(time.Hour + skew + time.Second)
	out = out.Plan.Next(dead, at(dead, back))
	require.Equal(t, rotation.Aborted, out.Plan.Phase)
	require.EqualValues(t, 43, out.Plan.Sequence)
}

// TestZonesAreToldInGrowingSteps: the canary alone, then as many as have moved.
func TestZonesAreToldInGrowingSteps(t *testing.T) {
	var zones []rotation.Zone
	for z := range 9 {
		zones = append(zones, rotation.Zone(rune('a'+z)))
	}
	p := made(t, func(s *rotation.Start) { s.Zones, s.Standby = zones, 41 })
	told := func() int {
		n := 0
		for _, z := range p.Zones {
			if z.Commanded {
				n++
			}
		}
		return n
	}
	reports := func() []rotation.Report { // everybody has done what it was told
		var all []rotation.Report
		for _, z := range zones {
			c := p.CommandFor(z)
			all = append(all, report(z, c.Epoch, c.Signer, 41))
		}
		return all
	}
	p = settled(p.Next(start, nil).Plan, reports()).Plan
	for _, want := range []int{1, 2, 4, 8, 9} {
		require.Equal(t, rotation.Activating, p.Phase)
		require.Equal(t, want, told())
		p = p.Next(soon, at(soon, reports())).Plan
	}
	require.Equal(t, rotation.Draining, p.Phase)
}
