package rotation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// stolen is the decision to drop the old anchor.
func stolen() rotation.Emergency {
	return rotation.Emergency{Actor: "ada", Reason: "the old key was stolen", At: start}
}

// TestReissueFirstDropsTheOldAnchorOnceEverybodyHasANewLeaf: before the last old leaf
// is dead, and not before every zone signs under the new anchor.
func TestReissueFirstDropsTheOldAnchorOnceEverybodyHasANewLeaf(t *testing.T) {
	e := stolen()
	e.Deadline = start.Add(time.Hour)
	p := made(t, func(s *rotation.Start) {
		s.Standby, s.Emergency, s.OldEnd, s.Mode = 30, &e, start, rotation.ModeManual // too late for a plan
	})
	p = p.Next(start, nil).Plan
	require.True(t, p.Emergency.Taken)
	p = p.Next(start, nil).Plan
	require.Equal(t, rotation.Distributing, p.Phase, "nobody has to let go")
	held := drains(everybody(7, oldID, 41), oldID, start.Add(lifetime))
	out := p.Next(start, held)
	require.Equal(t, rotation.Activating, out.Plan.Phase, "nothing to settle")
	require.Len(t, out.Steps, 3, "all at once")

	moved := drains(everybody(8, newID, 41), oldID, start.Add(lifetime))
	out = out.Plan.Next(start, moved)
	require.Equal(t, rotation.Draining, out.Plan.Phase)
	both := rotation.Publication{Sequence: 42, Active: oldID, With: []ca.AnchorID{oldID, newID}}
	require.Equal(t, both, out.Steps[0].Publish, "who holds it has a new leaf")

	p = out.Plan.Next(start, moved).Plan
	waits := drains(everybody(8, newID, 42), oldID, start.Add(lifetime))
	waits[1].Coverage = map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: 41, Live: 100, Behind: 40, Oldest: start.Add(lifetime)}}
	waits[0].Coverage, waits[2].Coverage = nil, nil
	out = p.Next(start, waits)
	require.Equal(t, []rotation.Blocker{{
		Zone: "eu-1", Replica: "0", Code: rotation.CodeCoverage, Until: e.Deadline,
		Why: "40 of 100 live leaves last saw bundle 41, oldest expires in 24h",
	}}, out.Blockers)

	enough := p
	urgent := *p.Emergency
	enough.Emergency, urgent.Percent = &urgent, 60
	require.Equal(t, rotation.Retiring, enough.Next(start, waits).Plan.Phase, "60 of 100 have one")
	urgent.Percent = 61
	require.Equal(t, rotation.Draining, enough.Next(start, waits).Plan.Phase)

	silent := p.Next(e.Deadline, nil)
	require.Equal(t, rotation.Draining, silent.Plan.Phase, "the deadline waives the leaves, not the zones")
	require.Equal(t, rotation.Retiring, p.Next(e.Deadline, at(e.Deadline, waits)).Plan.Phase)
	last := p.Next(start, drains(everybody(8, newID, 42), oldID, start.Add(lifetime)))
	require.Equal(t, rotation.Retiring, last.Plan.Phase)
	require.Equal(t, rotation.Publication{Sequence: 43, Active: newID, With: []ca.AnchorID{newID}, Without: []ca.AnchorID{oldID}}, last.Steps[0].Publish)
}

// TestDistrustDropsTheOldAnchorAtOnce from each phase, and still waits until everybody
// has done so.
func TestDistrustDropsTheOldAnchorAtOnce(t *testing.T) {
	for _, phase := range []rotation.Phase{rotation.Staged, rotation.Distributing, rotation.Activating, rotation.Draining} {
		e := stolen()
		e.Distrust = true
		p := in(t, phase, nil)
		epoch, sequence := p.Epoch+1, p.Sequence+1
		out := act(t)(p.MakeEmergency(e)).Next(start, nil)
		require.Equal(t, rotation.Retiring, out.Plan.Phase, phase)
		require.Equal(t, sequence, out.Steps[0].Publish.Sequence)
		require.Equal(t, []ca.AnchorID{oldID}, out.Steps[0].Publish.Without)
		require.Contains(t, out.Steps, rotation.Step{Command: command("eu-2", newID, epoch)})
		require.Equal(t, rotation.Retiring, out.Plan.Next(start, everybody(epoch-1, oldID, sequence)).Plan.Phase)
		require.Equal(t, rotation.Done, out.Plan.Next(start, everybody(epoch, newID, sequence)).Plan.Phase)
	}
}

// TestEmergencyTurnsAnAbortRound: the way back was to the anchor that is stolen.
func TestEmergencyTurnsAnAbortRound(t *testing.T) {
	p := act(t)(in(t, rotation.Activating, nil).Abort("bob", "to see", start))
	out := act(t)(p.MakeEmergency(stolen())).Next(start, nil)
	require.Equal(t, rotation.Activating, out.Plan.Phase)
	require.EqualValues(t, 10, out.Plan.Epoch)
	require.Contains(t, out.Steps, rotation.Step{Command: command("eu-2", newID, 10)})
}

// TestStolenNewAnchorLeavesEvenWhenItWasAStandby in each phase.
func TestStolenNewAnchorLeavesEvenWhenItWasAStandby(t *testing.T) {
	e := stolen()
	e.Anchor, e.Distrust = newID, true
	standby := func(s *rotation.Start) { s.Standby = 41 }
	for _, phase := range []rotation.Phase{rotation.Staged, rotation.Distributing} {
		out := act(t)(in(t, phase, standby).MakeEmergency(e)).Next(start, nil)
		require.Equal(t, rotation.Aborted, out.Plan.Phase, phase)
		require.Equal(t, rotation.Publication{Sequence: 42, Active: oldID, With: []ca.AnchorID{oldID}, Without: []ca.AnchorID{newID}}, out.Steps[0].Publish, phase)
	}
	p := in(t, rotation.Draining, nil)
	out := act(t)(p.MakeEmergency(e)).Next(start, nil)
	require.Equal(t, rotation.Aborting, out.Plan.Phase)
	require.Equal(t, rotation.Publication{Sequence: 43, Active: oldID, With: []ca.AnchorID{oldID}, Without: []ca.AnchorID{newID}}, out.Steps[0].Publish)
	require.Equal(t, rotation.Aborting, out.Plan.Next(start, everybody(8, newID, 43)).Plan.Phase)
	out = out.Plan.Next(start, everybody(9, oldID, 43))
	require.Equal(t, rotation.Aborted, out.Plan.Phase)
	require.EqualValues(t, 43, out.Plan.Sequence)
	require.Equal(t, "the old key was stolen", out.Plan.AbortedBy.Reason)

	retiring := in(t, rotation.Retiring, nil)
	_, err := retiring.MakeEmergency(e)
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err), "there is nothing to go back to")
}

// TestEmergencyNeedsItsOwnApprovals: those of the plan were for something else.
func TestEmergencyNeedsItsOwnApprovals(t *testing.T) {
	p := in(t, rotation.Staged, func(s *rotation.Start) { s.ApprovalsNeeded = 2 })
	p = act(t)(p.Approve("bob", start)).Next(start, nil).Plan
	e := stolen()
	e.Distrust = true
	p = act(t)(p.MakeEmergency(e))
	out := p.Next(start, everybody(7, oldID, 41))
	require.Equal(t, rotation.Distributing, out.Plan.Phase, "without effect so far")
	require.Contains(t, out.Blockers, rotation.Blocker{Code: rotation.CodeApproval, Why: "the emergency has 1 of 2 approvals; see ca rotate approve"})
	p = act(t)(p.Approve("bob", start))
	require.Equal(t, rotation.Retiring, p.Next(start, nil).Plan.Phase)
}

func TestEmergencyThatSaysTooLittleIsRefused(t *testing.T) {
	p := in(t, rotation.Distributing, nil)
	for name, change := range map[string]func(*rotation.Emergency){
		"nobody":         func(e *rotation.Emergency) { e.Actor = "" },
		"no reason":      func(e *rotation.Emergency) { e.Reason = "" },
		"no time":        func(e *rotation.Emergency) { e.At = time.Time{} },
		"too much":       func(e *rotation.Emergency) { e.Percent = 101 },
		"another anchor": func(e *rotation.Emergency) { e.Anchor = ca.AnchorID{9} },
	} {
		e := stolen()
		change(&e)
		_, err := p.MakeEmergency(e)
		require.Error(t, err, name)
	}
}
