package rotation

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// view is a plan while Next looks at it.
type view struct {
	plan     Plan
	now      time.Time
	guards   guards
	reports  map[Zone][]Report // of replicas that are not removed
	joined   []Zone            // in the order in which they are reported
	removed  []Report
	blockers []Blocker
}

func newView(p Plan, now time.Time, reports []Report, g guards) *view {
	v := &view{plan: p, now: now, guards: g, reports: make(map[Zone][]Report)}
	known := make(map[Zone]bool, len(p.Zones))
	for _, z := range p.Zones {
		known[z.Name] = true
	}
	for _, r := range reports {
		if r.Removed {
			v.removed = append(v.removed, r)
			continue
		}
		if len(v.reports[r.Zone]) == 0 && !known[r.Zone] {
			v.joined = append(v.joined, r.Zone)
		}
		v.reports[r.Zone] = append(v.reports[r.Zone], r)
	}
	for _, replicas := range v.reports {
		byReplica(replicas)
	}
	return v
}

// block names what holds the plan up; until is zero where nobody knows.
func (v *view) block(zone Zone, code Code, until time.Time, why string, args ...any) {
	v.blockers = append(v.blockers, Blocker{Zone: zone, Code: code, Why: fmt.Sprintf(why, args...), Until: until})
}

// check judges the report of one replica: it names what is missing, or returns true.
type check func(r Report) bool

// refuse is a check's answer about a replica.
func (v *view) refuse(r Report, code Code, why string, args ...any) bool {
	v.blockers = append(v.blockers, Blocker{Zone: r.Zone, Replica: r.Replica, Code: code, Why: fmt.Sprintf(why, args...)})
	return false
}

// everyone asks each zone that takes part, and names those that hold the plan up.
func (v *view) everyone(agrees check) bool {
	all, some := true, false
	for _, z := range v.plan.Zones {
		if z.Excluded != "" {
			continue
		}
		if v.answers(z.Name, agrees) {
			some = true
		} else {
			all = false
		}
	}
	if v.guards.allAcknowledge {
		return all
	}
	if some {
		v.blockers = nil
	}
	return some
}

// answers asks each replica of one zone.
func (v *view) answers(zone Zone, agrees check) bool {
	replicas := v.reports[zone]
	if len(replicas) == 0 {
		v.block(zone, CodeSilent, time.Time{}, "it has not reported")
		return false
	}
	all, some := true, false
	for _, r := range replicas {
		if v.isHeard(r) && agrees(r) {
			some = true
		} else {
			all = false
		}
	}
	if !v.guards.minimum && some {
		v.blockers = slices.DeleteFunc(v.blockers, func(b Blocker) bool { return b.Zone == zone })
		return true
	}
	return all
}

// quietly asks one zone and names nothing.
func (v *view) quietly(zone Zone, agrees check) bool {
	before := slices.Clone(v.blockers)
	ok := v.answers(zone, agrees)
	v.blockers = before
	return ok
}

// isHeard asks whether a report is young enough to count.
func (v *view) isHeard(r Report) bool {
	switch age := v.now.Sub(r.Received); {
	case r.Received.IsZero():
		return v.refuse(r, CodeSilent, "it has not reported")
	case age > v.plan.Silent:
		return v.refuse(r, CodeSilent, "it has not reported for %s", span(age))
	case r.Sequence > v.plan.Sequence:
		return v.refuse(r, CodeForked, "it holds bundle %d, and %d is the last that the plan knows of; one of the two was restored from a backup", r.Sequence, v.plan.Sequence)
	}
	return true
}

// holdsBundle asks whether a replica has the bundle that the phase publishes.
func (v *view) holdsBundle(r Report) bool {
	if r.Sequence < v.plan.Needed {
		return v.refuse(r, CodeBundleBehind, "it holds bundle %d, not %d", r.Sequence, v.plan.Needed)
	}
	return true
}

// hasBoth asks whether a replica and all its verifiers have the new anchor, and
// whether a handshake under it has shown that.
func (v *view) hasBoth(r Report) bool {
	if !v.holdsBundle(r) {
		return false
	}
	covered := v.covers(r, v.plan.Needed)
	failure, tried := r.Canary[v.plan.New]
	switch {
	case failure != "":
		return v.refuse(r, CodeCanary, "a handshake with a canary under %.8s failed: %s", v.plan.New, failure)
	case !tried && v.plan.Canary:
		return v.refuse(r, CodeCanary, "it has made no handshake with a canary under %.8s yet", v.plan.New)
	}
	return covered
}

// covers asks whether every verifier of every class holds a bundle.
func (v *view) covers(r Report, sequence uint64) bool {
	all := true
	for _, class := range slices.Sorted(maps.Keys(r.Coverage)) {
		c := r.Coverage[class]
		if c.Sequence >= sequence || v.plan.confirms(r.Zone, class, sequence) {
			continue
		}
		all = v.refuse(r, CodeCoverage, "%s", v.uncovered(class, c))
		v.blockers[len(v.blockers)-1].Until = c.Oldest
	}
	return all
}

func (v *view) uncovered(class ca.VerifierClass, c ca.Coverage) string {
	text := fmt.Sprintf("%s of %s live leaves last saw bundle %d", count(c.Behind), count(c.Live), c.Sequence)
	switch class {
	case ca.ClassRenewal:
	case ca.ClassRestart, ca.ClassPublished, ca.ClassFederated:
		return fmt.Sprintf("%s verifiers (%s) cannot be seen; see ca rotate confirm", class, text)
	default:
		text = fmt.Sprintf("%s verifiers: %s", class, text)
	}
	if c.Oldest.After(v.now) {
		text += ", oldest expires in " + span(c.Oldest.Sub(v.now))
	}
	return text
}

// signsAsTold asks whether a replica has followed the last command.
func (v *view) signsAsTold(r Report) bool {
	switch {
	case v.guards.reportEpoch && r.Epoch != v.plan.Epoch:
		return v.refuse(r, CodeEpoch, "its report answers command %d, not %d", r.Epoch, v.plan.Epoch)
	case r.Signer != v.plan.Signer():
		return v.refuse(r, CodeSigner, "it signs under %.8s, not %.8s", r.Signer, v.plan.Signer())
	}
	return true
}

// hasMoved asks whether a replica holds the bundle of the phase and signs as it was
// told.
func (v *view) hasMoved(r Report) bool {
	holds := v.holdsBundle(r)
	return v.signsAsTold(r) && holds
}

// clockWithin asks whether the clock of a replica is no further off.
func (v *view) clockWithin(limit time.Duration) check {
	return func(r Report) bool {
		if off := r.Clock.Sub(r.Received); !r.Clock.IsZero() && off.Abs() > limit {
			return v.refuse(r, CodeClock, "its clock is %s off, and %s is the most", span(off.Abs()), span(limit))
		}
		return true
	}
}

// live counts the leaves of a zone under an anchor.
func (v *view) live(zone Zone, anchor ca.AnchorID) int {
	n := 0
	for _, r := range v.reports[zone] {
		n += r.Live[anchor]
	}
	return n
}

// count writes a number with a space between its thousands.
func count(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}

// span writes a time to wait: to the minute where there are hours, else to the second.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Hour {
		return d.String()
	}
	d = d.Round(time.Minute)
	if m := int(d/time.Minute) % 60; m > 0 {
		return fmt.Sprintf("%dh%dm", int(d/time.Hour), m)
	}
	return fmt.Sprintf("%dh", int(d/time.Hour))
}
