package rotation

import (
	"slices"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// note raises the bound on the leaves that have to die by what replicas report,
// whichever command they answer: a bound is never wrong by being high.
func (v *view) note() {
	if p := v.plan.Phase; p != Activating && p != Draining && p != Aborting {
		return
	}
	anchor := v.plan.leaving()
	for _, reports := range v.reports {
		for _, r := range reports {
			v.plan.HighWater = later(v.plan.HighWater, r.HighWater[anchor])
		}
	}
	for _, r := range v.removed {
		v.plan.HighWater = later(v.plan.HighWater, r.HighWater[anchor])
		if v.guards.lease && (r.Epoch != v.plan.Epoch || r.Signer != v.plan.Signer()) {
			v.plan.LeaseEnd = later(v.plan.LeaseEnd, r.Lease)
		}
	}
}

// drained tells whether the anchor that leaves may leave the bundle: no leaf under it
// can live, or an emergency waives that. It names what is missing.
func (v *view) drained(guarded, signs bool) bool {
	if !guarded {
		return true
	}
	e := v.plan.emergency()
	if e == nil || e.Anchor != v.plan.leaving() || !signs {
		return v.isDead(v.plan.leaving())
	}
	if v.waived(e) {
		v.blockers = nil
		return true
	}
	waits := v.blockers
	v.blockers = nil
	if v.isDead(v.plan.leaving()) {
		return true
	}
	if len(waits) > 0 {
		v.blockers = waits
	}
	return false
}

// isDead tells whether no leaf can live under an anchor, at any clock.
func (v *view) isDead(anchor ca.AnchorID) bool {
	named := len(v.blockers)
	if end := v.drainEnd(); !v.now.After(end) {
		v.block("", CodeDraining, end, "leaves under %.8s live until %s at the latest, in %s", anchor, end.UTC().Format(time.RFC3339), span(end.Sub(v.now)))
	}
	v.settles(CodeDraining, "leaves that have just ended live at clocks that are slow")
	for _, z := range v.plan.Zones {
		if n := v.live(z.Name, anchor); n > 0 && z.Excluded == "" {
			v.block(z.Name, CodeLiveLeaves, time.Time{}, "%s live leaves are under %.8s", count(n), anchor)
		}
	}
	if named == 0 { // else the silent ones are named already
		v.everyone(v.clockWithin(v.plan.Skew))
	}
	return len(v.blockers) == named
}

// drainEnd is when the last leaf under the anchor that leaves is dead at every clock.
func (v *view) drainEnd() time.Time {
	end := v.plan.HighWater
	if v.guards.lease {
		end = later(end, v.plan.LeaseEnd)
		for _, z := range v.plan.Zones {
			if z.Excluded != "" {
				end = later(end, z.Lease)
			}
		}
	}
	if v.guards.skew {
		end = end.Add(v.plan.Skew)
	}
	return end
}

// witness notes since when the last reports, old ones as well, tell what the phase
// waits for.
func (v *view) witness(agrees check) {
	complete, before := true, slices.Clone(v.blockers)
	for _, z := range v.plan.Zones {
		for _, r := range v.reports[z.Name] {
			complete = complete && (z.Excluded != "" || !r.Received.IsZero() && agrees(r))
		}
	}
	v.blockers = before
	switch {
	case !complete:
		v.plan.Evident = time.Time{}
	case v.plan.Evident.IsZero():
		v.plan.Evident = v.now
	}
}

// settles blocks until what no report tells any more is over at every clock: a leaf is
// forgotten by a replica whose clock is fast, and lives at a verifier whose is slow.
func (v *view) settles(code Code, why string) {
	if end := v.plan.Evident.Add(2 * v.plan.Skew); v.guards.skew && v.now.Before(end) {
		v.block("", code, end, "%s, %s more", why, span(end.Sub(v.now)))
	}
}

// areOthersDead tells whether the verifiers that no report counts are gone: those
// whose leaf has just ended, and those of replicas that were removed.
func (v *view) areOthersDead() bool {
	if v.plan.emergency() == nil {
		v.settles(CodeCoverage, "verifiers whose leaf has just ended live at clocks that are slow")
	}
	for _, r := range v.removed {
		if i := v.plan.zone(r.Zone); i >= 0 && v.plan.Zones[i].Excluded == "" && !v.leavesNobody(r) {
			v.refuse(r, CodeCoverage, "it was removed, and verifiers that it served may not have bundle %d", v.plan.Needed)
			v.blockers[len(v.blockers)-1].Until = r.Lease.Add(v.plan.Skew)
		}
	}
	return len(v.blockers) == 0
}

// leavesNobody tells whether the verifiers that a removed replica served have the
// bundle, or are dead: their leaves end with its last intermediate.
func (v *view) leavesNobody(r Report) bool {
	before := slices.Clone(v.blockers)
	has := !r.Received.IsZero() && v.holdsBundle(r) && v.covers(r, v.plan.Needed)
	v.blockers = before
	return has || !v.guards.lease || v.now.After(r.Lease.Add(v.plan.Skew))
}

// hasCaughtUp tells whether a zone that returns and its verifiers hold what the others
// sign under, those included whom its removed replicas served.
func (v *view) hasCaughtUp(zone Zone) bool {
	e := v.plan.emergency()
	has := v.hasBoth
	switch {
	case v.plan.Phase == Staged || v.plan.Phase == Distributing:
		return true // nobody signs under the new anchor, and it is waited for as all are
	case v.plan.Phase == Retiring, v.plan.Phase == Aborting && e != nil && e.Distrust:
		has = func(r Report) bool { return v.hasMoved(r) && v.covers(r, v.plan.Needed) }
	}
	return v.quietly(zone, has) && !slices.ContainsFunc(v.removed, func(r Report) bool { return r.Zone == zone && !v.leavesNobody(r) })
}

// returns lets a zone take part again once it has caught up, for as long as evidence
// has to last.
func (v *view) returns(z *ZoneState) {
	switch {
	case !v.guards.enrol:
	case !v.hasCaughtUp(z.Name):
		z.Evident = time.Time{}
		return
	case v.plan.Phase == Staged || v.plan.Phase == Distributing:
	case z.Evident.IsZero():
		z.Evident = v.now
		fallthrough
	default:
		if v.guards.skew && v.now.Before(z.Evident.Add(2*v.plan.Skew)) {
			return
		}
	}
	z.Excluded, z.Returning, z.Lease, z.Evident = "", false, time.Time{}, time.Time{}
	z.Commanded = z.Commanded || v.plan.Phase != Activating
}
