package rotation

import (
	"fmt"
	"slices"
	"time"
)

// Next is the whole algorithm: where the plan is at now, given the last report of
// every replica that is registered, also of those that have never reported. It moves
// one phase at most. The plan that it returns has to be stored, by compare-and-swap,
// before its steps are taken.
func (p Plan) Next(now time.Time, reports []Report) Outcome { return p.next(now, reports, allGuards) }

func (p Plan) next(now time.Time, reports []Report, g guards) Outcome {
	if p.IsOver() {
		return Outcome{Plan: p, Steps: p.Steps()}
	}
	v := newView(p.clone(), now, reports, g)
	v.settle()
	v.note()
	v.suspect()
	switch {
	case p.Paused:
		v.block("", CodePaused, time.Time{}, "it is paused; see ca rotate resume")
	case v.turns():
	default:
		v.move()
	}
	if v.plan.Phase != Staged && v.plan.Emergency != nil && !v.plan.approved() {
		v.askApproval()
	}
	if v.plan.IsOver() {
		v.plan.EndedAt = now
	}
	return Outcome{Plan: v.plan, Steps: v.plan.Steps(), Blockers: v.blockers}
}

// move looks at the evidence that the phase waits for.
func (v *view) move() {
	switch v.plan.Phase {
	case Staged:
		v.stage()
	case Distributing:
		v.distribute()
	case Activating:
		v.activate()
	case Draining:
		v.drain()
	case Retiring:
		if v.everyone(v.hasMoved) {
			v.enter(Done)
		}
	case Aborting:
		v.abort()
	}
}

// enter begins a phase. What blocked the one before does not block it.
func (v *view) enter(phase Phase) {
	v.plan.Phase, v.plan.Since, v.plan.Evident, v.plan.Advanced, v.blockers = phase, v.now, time.Time{}, "", nil
}

// publish begins a phase with a bundle of its own.
func (v *view) publish(phase Phase) {
	v.enter(phase)
	v.plan.Sequence++
	v.plan.Needed = v.plan.Sequence
}

// command begins a phase in which everybody signs under the other anchor.
func (v *view) command(phase Phase) {
	v.enter(phase)
	v.plan.Epoch++
	v.plan.HighWater = time.Time{}
	for i := range v.plan.Zones {
		v.plan.Zones[i].Commanded = phase != Activating
	}
	v.note()
}

// stage waits for the operators who have to approve.
func (v *view) stage() {
	if !v.mayEnd() {
		return
	}
	if v.plan.NewPublished {
		v.enter(Distributing)
		return
	}
	v.publish(Distributing)
}

// distribute waits until everybody has the bundle with both anchors, also those that
// no report counts because their leaf has ended by a clock that is fast.
func (v *view) distribute() {
	v.witness(v.hasBoth)
	if all := v.everyone(v.hasBoth); !all || !v.areOthersDead() || !v.mayEnd() {
		return
	}
	v.command(Activating)
	v.tell()
}

// activate tells one zone after the other, and waits for each before the next.
func (v *view) activate() {
	v.tell()
	if v.everyone(v.signsAsTold) {
		v.enter(Draining)
		v.askForLeaves()
		return
	}
	// Who was not told yet holds nobody up.
	v.blockers = slices.DeleteFunc(v.blockers, func(b Blocker) bool { return b.Zone != "" && !v.plan.commanded(b.Zone) })
}

// tell marks the zones that may be told: the canary alone, and then, in their order,
// as many at a time as have reported that they have moved. Excluded zones are told as
// well, in case they hear it. An emergency tells all at once.
func (v *view) tell() {
	moved, told := 0, 0
	var rest []*ZoneState
	for i := range v.plan.Zones {
		switch z := &v.plan.Zones[i]; {
		case z.Excluded != "" || v.plan.emergency() != nil:
			z.Commanded = true
		case v.quietly(z.Name, v.signsAsTold):
			z.Commanded = true
			moved++
		case z.Commanded:
			told++
		default:
			rest = append(rest, z)
		}
	}
	for _, z := range rest[:min(len(rest), max(max(moved, 1)-told, 0))] {
		z.Commanded = true
	}
}

// drain waits until the last leaf under the old anchor is dead at every clock, and
// then publishes the bundle without it. That everybody signs under the new one is
// asked again: zones may have joined, and come back.
func (v *view) drain() {
	v.witness(v.signsAsTold)
	signs := !v.guards.recheck || v.everyone(v.signsAsTold)
	if v.drained(v.guards.drainBeforeEnd, signs) && signs && v.mayEnd() {
		v.publish(Retiring)
	}
}

// abort waits until everybody signs under the old anchor again, and then drains the
// new one.
func (v *view) abort() {
	v.witness(v.signsAsTold)
	signs := v.everyone(v.signsAsTold)
	e := v.plan.emergency()
	switch {
	case e != nil && e.Distrust && e.Anchor == v.plan.New: // the bundle is without it already
		if signs {
			v.enter(Aborted)
		}
	case !v.drained(v.guards.drainBeforeAbort, signs) || !signs:
	case v.plan.NewPublished && e == nil:
		v.enter(Aborted)
	default:
		v.publish(Aborted)
	}
}

// mayEnd tells whether a phase whose evidence is in may end: operators and hours. It
// is asked only where the end is felt by others.
func (v *view) mayEnd() bool {
	p := &v.plan
	switch {
	case p.Phase == Staged && !p.approved():
		v.askApproval()
	case p.emergency() != nil, p.Mode == ModeManual && p.Advanced == p.Phase:
	case p.Mode == ModeManual:
		v.block("", CodeAdvance, time.Time{}, "%s; see ca rotate advance", v.awaited())
	default:
		v.automatic()
	}
	return len(v.blockers) == 0
}

func (v *view) askApproval() {
	what := "the rotation"
	if v.plan.Emergency != nil {
		what = "the emergency"
	}
	v.block("", CodeApproval, time.Time{}, "%s has %d of %d approvals; see ca rotate approve", what, len(v.plan.Approvals), v.plan.ApprovalsNeeded)
}

func (v *view) awaited() string {
	if v.plan.Trouble != "" {
		return "it was automatic, and waits for an operator since " + v.plan.Trouble
	}
	return fmt.Sprintf("the evidence of %s is in, and an operator has to let it go on", v.plan.Phase)
}

// automatic asks what an automatic plan waits for.
func (v *view) automatic() {
	p := &v.plan
	if p.Phase != Staged { // when nothing was done yet, no clock matters
		v.everyone(v.clockWithin(p.Skew / 2))
	}
	if p.Advanced == p.Phase {
		return
	}
	if end := p.Since.Add(p.Dwell); p.Phase != Staged && v.now.Before(end) {
		v.block("", CodeDwell, end, "%s lasts for %s at least, %s more", p.Phase, span(p.Dwell), span(end.Sub(v.now)))
	}
	if opens := p.Window.Opens(v.now); opens.After(v.now) {
		v.block("", CodeWindow, opens, "it acts in the window %s UTC only, in %s", p.Window, span(opens.Sub(v.now)))
	}
}

// suspect makes an automatic plan manual when a report says what cannot be.
func (v *view) suspect() {
	for _, z := range v.plan.Zones {
		for _, r := range v.reports[z.Name] {
			if z.Excluded == "" && !r.Received.IsZero() && r.Epoch > v.plan.Epoch {
				v.plan = v.plan.Distrusted(fmt.Sprintf("zone %s, replica %s follows command %d, and the last was %d", z.Name, r.Replica, r.Epoch, v.plan.Epoch))
			}
		}
	}
}

// settle brings the zones of the plan up to what is registered: who has joined, who
// was removed, who has come back.
func (v *view) settle() {
	for _, z := range v.joined {
		v.plan.admit(z)
	}
	for _, r := range v.removed {
		if i := v.plan.zone(r.Zone); i >= 0 && len(v.reports[r.Zone]) == 0 {
			v.plan.leave(r.Zone, time.Time{}) // what was removed is noted by itself
		}
	}
	for i := range v.plan.Zones {
		z := &v.plan.Zones[i]
		if z.Excluded == "" {
			continue
		}
		for _, r := range v.reports[z.Name] {
			z.Lease = later(z.Lease, r.Lease)
		}
		if z.Returning {
			v.returns(z)
		}
	}
}
