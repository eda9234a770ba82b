package rotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// The acts of operators and of the primary. Each returns the plan that follows, to be
// stored by compare-and-swap; what it does to zones and bundle follows from Next.

// Advance lets the phase end as soon as the evidence is in; it replaces no evidence.
// In automatic mode it waives the dwell and the window.
func (p Plan) Advance(actor string, _ time.Time) (Plan, error) {
	switch {
	case actor == "":
		return p, fmt.Errorf("advancing needs an actor")
	case p.IsOver():
		return p, p.over("advanced")
	}
	next := p.clone()
	next.Advanced = p.Phase
	return next, nil
}

// Pause stops the plan where it is. Commands that were given stay given.
func (p Plan) Pause(actor string, _ time.Time) (Plan, error) {
	return p.pause(actor, true)
}

// Resume lets it go on.
func (p Plan) Resume(actor string, _ time.Time) (Plan, error) {
	return p.pause(actor, false)
}

func (p Plan) pause(actor string, paused bool) (Plan, error) {
	switch {
	case actor == "":
		return p, fmt.Errorf("pausing and resuming need an actor")
	case p.IsOver():
		return p, p.over("paused or resumed")
	}
	next := p.clone()
	next.Paused = paused
	return next, nil
}

// SetMode changes between manual and automatic; it ends what made the plan manual.
func (p Plan) SetMode(mode Mode) (Plan, error) {
	switch {
	case mode != ModeManual && mode != ModeAuto:
		return p, fmt.Errorf("mode %q is neither %s nor %s", mode, ModeManual, ModeAuto)
	case p.IsOver():
		return p, p.over("changed")
	}
	next := p.clone()
	next.Mode, next.Trouble = mode, ""
	return next, nil
}

// Distrusted makes an automatic plan manual, because of an error that nobody expected.
func (p Plan) Distrusted(why string) Plan {
	if p.Mode != ModeAuto || p.IsOver() {
		return p
	}
	next := p.clone()
	next.Mode, next.Trouble = ModeManual, why
	return next
}

// Abort turns a plan round. Before anybody signed under the new anchor it ends at
// once; after that the leaves under it have to die first. A plan that retires goes
// forward only: the old anchor is gone for some already. An anchor that was in the
// bundle before the plan stays there.
func (p Plan) Abort(actor, reason string, now time.Time) (Plan, error) {
	if actor == "" || reason == "" {
		return p, fmt.Errorf("aborting needs an actor and a reason")
	}
	next := p.clone()
	switch p.Phase {
	case Aborting:
		return p, nil
	case Staged, Distributing, Activating, Draining:
		next.turnBack(now)
	default:
		return p, p.over("aborted")
	}
	next.Paused, next.Emergency, next.AbortedBy = false, nil, Decision{actor, reason, now}
	return next, nil
}

// turnBack is the abort itself.
func (p *Plan) turnBack(now time.Time) {
	was := p.Phase
	p.Since, p.Evident, p.Advanced = now, time.Time{}, ""
	switch was {
	case Activating, Draining:
		p.Phase = Aborting
		p.Epoch++
		p.HighWater = time.Time{}
	default:
		p.Phase, p.EndedAt = Aborted, now
		if was == Distributing && !p.NewPublished {
			p.Sequence++
			p.Needed = p.Sequence
		}
	}
}

func (p Plan) over(what string) error {
	return ca.Refuse(ca.ReasonStale, "a rotation that is %s cannot be %s; start another one", p.Phase, what)
}

// Approve is the consent of one more operator.
func (p Plan) Approve(actor string, now time.Time) (Plan, error) {
	switch {
	case actor == "":
		return p, fmt.Errorf("approving needs an actor")
	case p.IsOver():
		return p, p.over("approved")
	case slices.ContainsFunc(p.Approvals, func(a Approval) bool { return a.Actor == actor }):
		return p, ca.Refuse(ca.ReasonStale, "%s has approved already, another operator has to", actor)
	}
	next := p.clone()
	next.Approvals = append(next.Approvals, Approval{actor, now})
	return next, nil
}

func (p Plan) approved() bool { return len(p.Approvals) >= p.ApprovalsNeeded }

// Exclude goes on without a zone, for a reason that is recorded. Its leaves have to
// be waited for all the same: lease is when its last intermediate ends, and with it
// every leaf that it can still sign. The caller sees to it that the zone gets no other
// intermediate while it is excluded.
func (p Plan) Exclude(zone Zone, reason string, lease time.Time) (Plan, error) {
	i := p.zone(zone)
	switch {
	case p.IsOver():
		return p, p.over("changed")
	case i < 0 || reason == "" || lease.IsZero():
		return p, fmt.Errorf("excluding zone %q needs a zone of the plan, a reason and the end of its intermediate", zone)
	}
	next := p.clone()
	z := &next.Zones[i]
	z.Excluded, z.Lease, z.Returning, z.Evident = reason, later(z.Lease, lease), false, time.Time{}
	return next, nil
}

// Include lets an excluded zone take part again. Until it and its verifiers hold what
// the others do it is waited for as one that is excluded.
func (p Plan) Include(zone Zone) (Plan, error) {
	i := p.zone(zone)
	switch {
	case p.IsOver():
		return p, p.over("changed")
	case i < 0:
		return p, fmt.Errorf("zone %q is not in rotation %s", zone, p.ID)
	case p.Zones[i].Excluded == "":
		return p, nil
	}
	next := p.clone()
	next.Zones[i].Returning = true
	return next, nil
}

// Admit takes in a zone that has joined; one that is known changes nothing. Next does
// the same for a zone that it finds in the reports.
func (p Plan) Admit(zone Zone) Plan {
	if p.IsOver() || zone == "" {
		return p
	}
	next := p.clone()
	next.admit(zone)
	return next
}

func (p *Plan) admit(zone Zone) {
	if p.zone(zone) < 0 {
		// From Draining on everybody is under command, and so is who joins.
		commanded := p.Phase == Draining || p.Phase == Retiring || p.Phase == Aborting
		p.Zones = append(p.Zones, ZoneState{Name: zone, Commanded: commanded})
	}
}

// Leave is a zone that was removed; its last intermediate ends at lease. Next does the
// same for a zone all of whose replicas were removed.
func (p Plan) Leave(zone Zone, lease time.Time) (Plan, error) {
	if p.IsOver() || p.zone(zone) < 0 {
		return p, nil
	}
	if lease.IsZero() {
		return p, fmt.Errorf("removing zone %q needs the end of its intermediate", zone)
	}
	next := p.clone()
	next.leave(zone, lease)
	return next, nil
}

func (p *Plan) leave(zone Zone, lease time.Time) {
	i := p.zone(zone)
	p.LeaseEnd = later(p.LeaseEnd, later(p.Zones[i].Lease, lease))
	p.Zones = slices.Delete(p.Zones, i, i+1)
}

// Observe tells of a bundle that the plan did not ask for: a change of bundle keys,
// another standby. It has to be stored before that bundle is published, and before it
// the plan's own publication has to be out, so that no sequence means two things.
func (p Plan) Observe(sequence uint64) Plan {
	if p.IsOver() || sequence <= p.Sequence {
		return p
	}
	next := p.clone()
	next.Sequence = sequence
	return next
}

// Confirm records that somebody answers for the verifiers of a class which nobody can
// see. It counts for the bundle that is being distributed now, and for no other.
func (p Plan) Confirm(c Confirmation) (Plan, error) {
	c.Sequence = p.Needed
	if e := p.emergency(); e != nil && e.Reissued > 0 {
		c.Sequence = e.Reissued
	}
	switch {
	case p.IsOver():
		return p, p.over("confirmed")
	case c.Class != ca.ClassRestart && c.Class != ca.ClassPublished && c.Class != ca.ClassFederated:
		return p, ca.Refuse(ca.ReasonStale, "verifiers of class %q are seen, nobody has to answer for them", c.Class)
	case c.Sequence == 0:
		return p, ca.Refuse(ca.ReasonStale, "nothing was published yet that could be confirmed")
	case p.zone(c.Zone) < 0 || c.Actor == "" || c.Reason == "":
		return p, fmt.Errorf("confirming needs a zone of the plan, an actor and a reason")
	}
	next := p.clone()
	next.Confirmed = append(next.Confirmed, c)
	return next, nil
}

// confirms tells whether somebody answers for a class.
func (p Plan) confirms(zone Zone, class ca.VerifierClass, sequence uint64) bool {
	return slices.ContainsFunc(p.Confirmed, func(c Confirmation) bool {
		return c.Zone == zone && c.Class == class && c.Sequence >= sequence
	})
}

// MakeEmergency records the decision to drop an anchor before its last leaf is dead.
// It takes effect once it has the approvals that the plan needs; those which the plan
// had before do not count for it.
func (p Plan) MakeEmergency(e Emergency) (Plan, error) {
	if e.Anchor.IsZero() {
		e.Anchor = p.Old
	}
	e.Taken, e.Reissued = false, 0
	switch {
	case e.Actor == "" || e.Reason == "" || e.At.IsZero():
		return p, fmt.Errorf("an emergency needs an actor, a reason and a time")
	case e.Percent < 0 || e.Percent > 100:
		return p, fmt.Errorf("%d percent of all leaves cannot be", e.Percent)
	case e.Anchor != p.Old && e.Anchor != p.New:
		return p, fmt.Errorf("anchor %s is none of rotation %s", e.Anchor, p.ID)
	case p.IsOver(), p.Phase == Retiring && e.Anchor == p.New:
		return p, p.over("made an emergency")
	}
	next := p.clone()
	next.Emergency, next.Paused = &e, false
	next.Approvals = []Approval{{e.Actor, e.At}}
	return next, nil
}

// emergency is the one in effect.
func (p Plan) emergency() *Emergency {
	if p.Emergency == nil || !p.approved() {
		return nil
	}
	return p.Emergency
}
