package rotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Step is something to do. A step may be taken any number of times.
type Step struct {
	// Publish is a bundle to publish: its sequence and anchors. Sequence 0 is none.
	Publish Publication `json:"publish,omitzero"`
	// Command is a command to a zone. Epoch 0 is none.
	Command Command `json:"command,omitzero"`
}

// Publication is a bundle as a plan wants it.
type Publication struct {
	Sequence uint64        `json:"sequence"`
	Anchors  []ca.AnchorID `json:"anchors"`
}

// Blocker is why a plan does not move.
type Blocker struct {
	Zone Zone   `json:"zone,omitempty"` // "" when it is none's fault
	Why  string `json:"why"`
	// Until is when it will have passed by itself, where that is known.
	Until time.Time `json:"until,omitzero"`
}

// Outcome is what Next says.
type Outcome struct {
	Plan     Plan
	Steps    []Step
	Blockers []Blocker // empty only when Plan has moved or is over
}

// Next is the whole algorithm: where the plan is at now, given the last report of
// each zone. It moves one phase at most. The plan that it returns has to be stored,
// by compare-and-swap, before its steps are taken.
func (p Plan) Next(now time.Time, reports []Report) Outcome { return p.next(now, reports, allGuards) }

func (p Plan) next(now time.Time, reports []Report, g guards) Outcome {
	v := view{plan: p.clone(), now: now, guards: g, reports: make(map[Zone]Report, len(reports))}
	for _, r := range reports {
		v.reports[r.Zone] = r
	}
	v.note()
	switch p.Phase {
	case Staged:
		v.publish(Distributing)
	case Distributing:
		v.distribute()
	case Activating:
		v.activate()
	case Draining:
		v.drain(p.Old, g.drainBeforeEnd, Retiring)
	case Retiring:
		if v.everyone(v.holdsBundle) {
			v.enter(Done)
		}
	case Aborting:
		v.abort()
	}
	return Outcome{Plan: v.plan, Steps: v.plan.steps(), Blockers: v.blockers}
}

// Abort turns a plan round. Before anybody signed under the new anchor it ends at
// once; after that the leaves under it have to die first. A plan that retires goes
// forward only: the old anchor is gone for some already.
func (p Plan) Abort(now time.Time) (Plan, error) {
	next := p.clone()
	next.Since = now
	switch p.Phase {
	case Staged:
		next.Phase = Aborted
	case Distributing:
		next.Phase = Aborted
		next.Sequence++
	case Activating, Draining:
		next.Phase = Aborting
		next.Epoch++
		next.HighWater = time.Time{}
	case Aborting:
		return p, nil
	default:
		return p, ca.Refuse(ca.ReasonStale, "a rotation that is %s cannot be aborted; start another one", p.Phase)
	}
	return next, nil
}

// Exclude goes on without a zone, for a reason that is recorded. Its leaves have to
// be waited for all the same: lease is when its last intermediate ends, and with it
// every leaf that it can still sign.
func (p Plan) Exclude(zone Zone, reason string, lease time.Time) (Plan, error) {
	next := p.clone()
	for i := range next.Zones {
		if next.Zones[i].Name == zone && reason != "" && !lease.IsZero() {
			next.Zones[i].Excluded, next.Zones[i].Lease = reason, lease
			return next, nil
		}
	}
	return p, fmt.Errorf("excluding zone %q needs a zone of the plan, a reason and the end of its intermediate", zone)
}

func (p Plan) clone() Plan {
	p.Zones = slices.Clone(p.Zones)
	return p
}

// steps are what the phase asks for, again and again until it is over.
func (p Plan) steps() []Step {
	var steps []Step
	if p.Phase != Staged && (p.Phase != Aborted || p.Sequence > p.First) {
		steps = append(steps, Step{Publish: Publication{Sequence: p.Sequence, Anchors: p.Anchors()}})
	}
	if p.Phase == Activating || p.Phase == Draining || p.Phase == Aborting {
		for _, z := range p.Zones {
			if p.Phase == Activating && !z.Commanded {
				break
			}
			steps = append(steps, Step{Command: Command{Zone: z.Name, Signer: p.Signer(), Epoch: p.Epoch}})
		}
	}
	return steps
}

// view is a plan while Next looks at it.
type view struct {
	plan     Plan
	now      time.Time
	guards   guards
	reports  map[Zone]Report
	blockers []Blocker
}

func (v *view) block(zone Zone, until time.Time, why string, args ...any) {
	v.blockers = append(v.blockers, Blocker{Zone: zone, Why: fmt.Sprintf(why, args...), Until: until})
}

// enter begins a phase. What blocked the one before does not block it.
func (v *view) enter(phase Phase) {
	v.plan.Phase, v.plan.Since, v.blockers = phase, v.now, nil
}

// publish begins a phase with a bundle of its own.
func (v *view) publish(phase Phase) {
	v.enter(phase)
	v.plan.Sequence++
}

// note raises the bound on the leaves that have to die by what zones report,
// whichever command they answer: a bound is never wrong by being high.
func (v *view) note() {
	var draining ca.AnchorID
	switch v.plan.Phase {
	case Activating, Draining:
		draining = v.plan.Old
	case Aborting:
		draining = v.plan.New
	default:
		return
	}
	for _, r := range v.reports {
		v.raise(r.HighWater[draining])
	}
}

func (v *view) raise(bound time.Time) {
	if bound.After(v.plan.HighWater) {
		v.plan.HighWater = bound
	}
}

// everyone asks each zone that takes part, and names those that hold the plan up.
func (v *view) everyone(agrees func(Report) (string, bool)) bool {
	all, any := true, false
	for _, z := range v.plan.Zones {
		if z.Excluded != "" {
			continue
		}
		if v.answers(z.Name, agrees) {
			any = true
			continue
		}
		all = false
	}
	if !v.guards.allAcknowledge {
		return any
	}
	return all
}

// answers asks one zone.
func (v *view) answers(zone Zone, agrees func(Report) (string, bool)) bool {
	r, ok := v.reports[zone]
	if !ok {
		v.block(zone, time.Time{}, "it has not reported")
		return false
	}
	why, ok := agrees(r)
	if !ok {
		v.block(zone, time.Time{}, "%s", why)
	}
	return ok
}

func (v *view) holdsBundle(r Report) (string, bool) {
	switch {
	case r.Sequence < v.plan.Sequence:
		return fmt.Sprintf("a replica holds bundle %d, not %d", r.Sequence, v.plan.Sequence), false
	case r.Coverage < v.plan.Sequence:
		return fmt.Sprintf("a verifier last saw bundle %d, not %d", r.Coverage, v.plan.Sequence), false
	}
	return "", true
}

func (v *view) signsAsTold(r Report) (string, bool) {
	switch {
	case v.guards.reportEpoch && r.Epoch != v.plan.Epoch:
		return fmt.Sprintf("its report answers command %d, not %d", r.Epoch, v.plan.Epoch), false
	case r.Signer == (ca.AnchorID{}):
		return "its replicas sign under different anchors", false
	case r.Signer != v.plan.Signer():
		return fmt.Sprintf("it signs under %.8s, not %.8s", r.Signer, v.plan.Signer()), false
	}
	return "", true
}

// distribute waits until everybody has the bundle with both anchors.
func (v *view) distribute() {
	if !v.everyone(v.holdsBundle) {
		return
	}
	v.enter(Activating)
	v.plan.Epoch++
	v.plan.HighWater = time.Time{}
	v.command()
}

// activate tells one zone after the other, and waits for each before the next.
func (v *view) activate() {
	if v.command(); v.everyone(v.signsAsTold) {
		v.enter(Draining)
	}
}

// command marks the zones that may be told: those that follow the ones that have
// reported. Excluded zones are told as well, in case they hear it.
func (v *view) command() {
	for i := range v.plan.Zones {
		z := &v.plan.Zones[i]
		z.Commanded = true
		if r, ok := v.reports[z.Name]; z.Excluded == "" && (!ok || !isTrue(v.signsAsTold(r))) {
			return
		}
	}
}

func isTrue(_ string, ok bool) bool { return ok }

// drain waits until the last leaf under an anchor is dead at every clock, and then
// publishes the bundle without it.
func (v *view) drain(anchor ca.AnchorID, guarded bool, next Phase) {
	end := v.plan.HighWater
	for _, z := range v.plan.Zones {
		if z.Excluded != "" && z.Lease.After(end) {
			end = z.Lease
		}
	}
	if end = end.Add(v.plan.Skew); guarded && !v.now.After(end) {
		v.block("", end, "leaves under %.8s live until %s at the latest", anchor, end.UTC().Format(time.RFC3339))
	}
	if guarded {
		for _, z := range v.plan.Zones {
			if n := v.reports[z.Name].Countable[anchor]; z.Excluded == "" && n > 0 {
				v.block(z.Name, time.Time{}, "%d live leaves are under %.8s", n, anchor)
			}
		}
	}
	if len(v.blockers) == 0 {
		v.publish(next)
	}
}

// abort waits until everybody signs under the old anchor again, and then drains the
// new one.
func (v *view) abort() {
	if !v.everyone(v.signsAsTold) {
		return
	}
	v.blockers = nil
	v.drain(v.plan.New, v.guards.drainBeforeAbort, Aborted)
}
