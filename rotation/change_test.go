package rotation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// act is an act of an operator in a test: it has to succeed.
func act(t *testing.T) func(rotation.Plan, error) rotation.Plan {
	return func(p rotation.Plan, err error) rotation.Plan {
		t.Helper()
		require.NoError(t, err)
		return p
	}
}

// TestManualPlanWaitsBeforeEachActThatIsFelt: a publication, the first signature, the
// removal. What changes nothing needs nobody.
func TestManualPlanWaitsBeforeEachActThatIsFelt(t *testing.T) {
	p := made(t, func(s *rotation.Start) { s.Mode = "" })
	require.Equal(t, rotation.ModeManual, p.Mode)
	require.Equal(t, []rotation.Code{rotation.CodeAdvance}, codes(p.Next(start, nil).Blockers))
	p = act(t)(p.Advance("ada", start)).Next(start, nil).Plan
	require.Equal(t, rotation.Distributing, p.Phase)

	held := everybody(7, oldID, 42)
	early := act(t)(p.Advance("ada", start))
	require.Equal(t, rotation.Distributing, early.Next(start, everybody(7, oldID, 41)).Plan.Phase, "it replaces no evidence")
	out := settled(p, held)
	require.Equal(t, []rotation.Code{rotation.CodeAdvance}, codes(out.Blockers))
	p = act(t)(out.Plan.Advance("ada", soon)).Next(soon, at(soon, held)).Plan
	require.Equal(t, rotation.Activating, p.Phase)
	p = p.Next(soon, at(soon, everybody(8, newID, 42))).Plan
	require.Equal(t, rotation.Draining, p.Phase)
	after := soon.Add(2 * skew)
	p = p.Next(soon, at(soon, everybody(8, newID, 42))).Plan
	out = p.Next(after, at(after, everybody(8, newID, 42)))
	require.Equal(t, []rotation.Code{rotation.CodeAdvance}, codes(out.Blockers))
	p = act(t)(out.Plan.Advance("ada", after)).Next(after, at(after, everybody(8, newID, 42))).Plan
	require.Equal(t, rotation.Retiring, p.Phase)
	p = p.Next(after, at(after, everybody(8, newID, 43))).Plan
	require.Equal(t, rotation.Done, p.Phase)
	_, err := p.Advance("ada", after)
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err))
}

func TestAutomaticPlanDwellsUntilItIsLetGo(t *testing.T) {
	p := in(t, rotation.Distributing, func(s *rotation.Start) { s.Dwell = 24 * time.Hour })
	out := settled(p, everybody(7, oldID, 42))
	require.Equal(t, []rotation.Code{rotation.CodeDwell}, codes(out.Blockers))
	p = act(t)(out.Plan.Advance("ada", soon))
	require.Equal(t, rotation.Activating, p.Next(soon, at(soon, everybody(7, oldID, 42))).Plan.Phase)
}

func TestPausedPlanKeepsItsCommandsAndMovesNothing(t *testing.T) {
	p := in(t, rotation.Activating, nil)
	steps := p.Next(start, everybody(7, oldID, 42)).Steps
	p = act(t)(p.Pause("ada", start))
	out := p.Next(start, everybody(8, newID, 42))
	require.Equal(t, rotation.Activating, out.Plan.Phase)
	require.Equal(t, []rotation.Code{rotation.CodePaused}, codes(out.Blockers))
	require.Equal(t, steps, out.Steps)
	p = act(t)(p.Resume("ada", start))
	require.Equal(t, rotation.Draining, p.Next(start, everybody(8, newID, 42)).Plan.Phase)
}

func TestTwoPersonsApprove(t *testing.T) {
	p := made(t, func(s *rotation.Start) { s.ApprovalsNeeded = 2 })
	_, err := p.Approve("ada", start)
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err), "the starter has agreed already")
	p = act(t)(p.Approve("bob", start))
	require.Equal(t, rotation.Distributing, p.Next(start, nil).Plan.Phase)
}

// TestWhatIsNotSeenIsConfirmedByName: for one zone, one class and one bundle.
func TestWhatIsNotSeenIsConfirmedByName(t *testing.T) {
	p := in(t, rotation.Distributing, nil)
	unseen := everybody(7, oldID, 42)
	unseen[2].Coverage = map[ca.VerifierClass]ca.Coverage{ca.ClassRestart: {Live: 300, Behind: 300}}
	c := rotation.Confirmation{Zone: "eu-2", Class: ca.ClassRestart, Actor: "ada", Reason: "all pods were restarted", At: start}
	for name, row := range map[string]struct {
		change func(*rotation.Confirmation)
		want   string
	}{
		"a class that is seen": {func(c *rotation.Confirmation) { c.Class = ca.ClassRenewal }, "are seen"},
		"a zone elsewhere":     {func(c *rotation.Confirmation) { c.Zone = "mars" }, "a zone of the plan"},
		"nobody":               {func(c *rotation.Confirmation) { c.Actor = "" }, "an actor"},
		"no reason":            {func(c *rotation.Confirmation) { c.Reason = "" }, "a reason"},
	} {
		bad := c
		row.change(&bad)
		_, err := p.Confirm(bad)
		require.ErrorContains(t, err, row.want, name)
	}
	_, err := made(t, nil).Confirm(c)
	require.ErrorContains(t, err, "nothing was published yet")

	require.Equal(t, []rotation.Code{rotation.CodeCoverage}, codes(settled(p, unseen).Blockers))
	p = act(t)(p.Confirm(c))
	require.EqualValues(t, 42, p.Confirmed[0].Sequence)
	require.Equal(t, rotation.Activating, settled(p, unseen).Plan.Phase)
	unseen[1].Coverage = unseen[2].Coverage
	require.Equal(t, rotation.Distributing, settled(p, unseen).Plan.Phase, "it says nothing of another zone")
}

// TestAutomaticPlanTurnsManualWhenAReportCannotBe: somebody else commands.
func TestAutomaticPlanTurnsManualWhenAReportCannotBe(t *testing.T) {
	p := in(t, rotation.Distributing, nil)
	strange := everybody(7, oldID, 42)
	strange[1].Epoch = 12
	out := settled(p, strange)
	require.Equal(t, rotation.ModeManual, out.Plan.Mode)
	require.Equal(t, "zone eu-1, replica 0 follows command 12, and the last was 7", out.Plan.Trouble)
	require.Equal(t, "it was automatic, and waits for an operator since zone eu-1, replica 0 follows command 12, and the last was 7; see ca rotate advance", out.Blockers[0].Why)
	p = act(t)(out.Plan.SetMode(rotation.ModeAuto))
	require.Empty(t, p.Trouble)
	_, err := p.SetMode("hasty")
	require.Error(t, err)
}

// TestExcludedZoneIsWaitedForAsLongAsItCanSign: a zone that nobody hears of still has
// an intermediate under the old anchor, and ends with it.
func TestExcludedZoneIsWaitedForAsLongAsItCanSign(t *testing.T) {
	p := in(t, rotation.Distributing, nil)
	lease := start.Add(6 * 24 * time.Hour)
	_, err := p.Exclude("eu-2", "", lease)
	require.ErrorContains(t, err, "a reason")
	_, err = p.Exclude("mars", "gone", lease)
	require.Error(t, err)
	p = act(t)(p.Exclude("eu-2", "the region is lost", lease))
	p = settled(p, everybody(7, oldID, 42)[:2]).Plan
	moved := everybody(8, newID, 42)[:2]
	out := p.Next(start, moved)
	require.Equal(t, rotation.Draining, out.Plan.Phase)
	require.Contains(t, out.Steps, rotation.Step{Command: command("eu-2", newID, 8)}, "in case it hears it")
	p = out.Plan.Next(start, moved).Plan
	out = p.Next(lease, at(lease, moved))
	require.Equal(t, rotation.Draining, out.Plan.Phase)
	require.Equal(t, lease.Add(skew), out.Blockers[0].Until)
	after := lease.Add(skew + time.Second)
	require.Equal(t, rotation.Retiring, p.Next(after, at(after, moved)).Plan.Phase)
}

// TestZoneThatReturnsTakesPartOnceItHasCaughtUp: before that its lease is waited for.
func TestZoneThatReturnsTakesPartOnceItHasCaughtUp(t *testing.T) {
	lease := start.Add(6 * 24 * time.Hour)
	p := act(t)(in(t, rotation.Draining, nil).Exclude("eu-2", "the region is lost", lease))
	p = act(t)(p.Include("eu-2"))
	back := everybody(8, newID, 42)
	back[2] = report("eu-2", 7, oldID, 41)
	out := settled(p, back)
	require.Equal(t, []rotation.Code{rotation.CodeDraining}, codes(out.Blockers))
	require.True(t, out.Plan.Zones[2].Returning)

	back[2] = report("eu-2", 7, oldID, 42)
	out = settled(p, back)
	require.Empty(t, out.Plan.Zones[2].Excluded)
	require.Equal(t, []rotation.Code{rotation.CodeEpoch}, codes(out.Blockers), "now it is waited for as all are")
	require.Equal(t, ca.Command{Signer: newID, Epoch: 8}, out.Plan.CommandFor("eu-2"))
	require.Equal(t, rotation.Retiring, settled(out.Plan, everybody(8, newID, 42)).Plan.Phase)
}

// TestZonesJoinInEachPhase: they are in the plan from the first look at the reports,
// and under command from Draining on.
func TestZonesJoinInEachPhase(t *testing.T) {
	for phase, want := range map[rotation.Phase]ca.Command{
		rotation.Staged:       {Signer: oldID, Epoch: 7},
		rotation.Distributing: {Signer: oldID, Epoch: 7},
		rotation.Activating:   {Signer: oldID, Epoch: 7},
		rotation.Draining:     {Signer: newID, Epoch: 8},
		rotation.Retiring:     {Signer: newID, Epoch: 8},
	} {
		p := in(t, phase, nil)
		require.Equal(t, want, p.CommandFor("ap-1"), phase)
		p = p.Admit("ap-1")
		require.Equal(t, want, p.CommandFor("ap-1"), phase)
		require.Equal(t, p, p.Admit("ap-1"))
		same := in(t, phase, nil).Next(soon, append(at(soon, everybody(7, oldID, 41)), rotation.Report{Zone: "ap-1"})).Plan
		require.Equal(t, rotation.Zone("ap-1"), same.Zones[3].Name, phase)
	}
	p := in(t, rotation.Draining, nil).Admit("ap-1")
	out := settled(p, everybody(8, newID, 42))
	require.Equal(t, rotation.Draining, out.Plan.Phase)
	require.Equal(t, rotation.Zone("ap-1"), out.Blockers[0].Zone)
}

// TestZoneThatWasRemovedIsWaitedForByItsLease: by the registry's word, and by an act.
func TestZoneThatWasRemovedIsWaitedForByItsLease(t *testing.T) {
	lease := start.Add(6 * 24 * time.Hour)
	gone := report("eu-2", 7, oldID, 42)
	gone.Removed, gone.Lease = true, lease
	p := in(t, rotation.Draining, nil)
	reports := append(everybody(8, newID, 42)[:2], gone)
	out := settled(p, reports)
	require.Len(t, out.Plan.Zones, 2)
	require.Equal(t, []rotation.Code{rotation.CodeDraining}, codes(out.Blockers))
	require.Equal(t, lease.Add(skew), out.Blockers[0].Until)

	left := act(t)(p.Leave("eu-2", lease))
	require.Equal(t, out.Plan.Zones, left.Zones)
	require.Equal(t, lease, left.LeaseEnd)
	_, err := p.Leave("eu-2", time.Time{})
	require.ErrorContains(t, err, "the end of its intermediate")

	moved := gone
	moved.Epoch, moved.Signer = 8, newID
	require.Equal(t, rotation.Retiring, settled(p, append(everybody(8, newID, 42)[:2], moved)).Plan.Phase, "it signed under the new one at last")
}

func TestActsNameWhoseTheyAre(t *testing.T) {
	p := in(t, rotation.Distributing, nil)
	for name, err := range map[string]error{
		"advance": second(p.Advance("", start)),
		"pause":   second(p.Pause("", start)),
		"resume":  second(p.Resume("", start)),
		"approve": second(p.Approve("", start)),
		"abort":   second(p.Abort("", "to see", start)),
	} {
		require.ErrorContains(t, err, "an actor", name)
	}
}

func second(_ rotation.Plan, err error) error { return err }

// TestZoneReturnsWithAllItsVerifiers: those of a replica that was removed meanwhile,
// and those who are behind their replica, count as well.
func TestZoneReturnsWithAllItsVerifiers(t *testing.T) {
	lease := start.Add(6 * 24 * time.Hour)
	returning := func(phase rotation.Phase) rotation.Plan {
		p := act(t)(in(t, phase, nil).Exclude("eu-2", "the region is lost", lease))
		return act(t)(p.Include("eu-2"))
	}
	gone := report("eu-2", 7, oldID, 41)
	gone.Replica, gone.Removed, gone.Lease = "1", true, lease
	out := settled(returning(rotation.Draining), append(everybody(8, newID, 42), gone))
	require.NotEmpty(t, out.Plan.Zones[2].Excluded)
	gone.Sequence, gone.Coverage = 42, nil
	out = settled(returning(rotation.Draining), append(everybody(8, newID, 42), gone))
	require.Empty(t, out.Plan.Zones[2].Excluded)

	behind := everybody(8, newID, 43)
	behind[0].Sequence = 42 // the plan is not over by the others
	behind[2].Coverage = map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: 41, Live: 3, Behind: 3}}
	require.NotEmpty(t, settled(returning(rotation.Retiring), behind).Plan.Zones[2].Excluded)
	behind[2].Coverage = nil
	require.Empty(t, settled(returning(rotation.Retiring), behind).Plan.Zones[2].Excluded)

	p := returning(rotation.Draining).Next(start, everybody(8, newID, 42)).Plan
	require.NotEmpty(t, p.Zones[2].Excluded, "for twice the skew, as all evidence")
}
