package rotation

import (
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// The model is a small world around the real Next: two zones of up to two replicas,
// the verifiers that each replica serves, leaves that live one tick, and an adversary
// who loses, delays, repeats and reorders everything, feeds stale bundles, lets
// controllers run with old reports, and aborts at any moment. What else it may do is
// said by the rules of each world.
const (
	modelZones    = 2
	modelReplicas = 2
	modelClasses  = 2
	leafLife      = 1 // ticks
	leaseLife     = 2
)

// The anchors of the model, as indexes and as ids.
const (
	oldAnchor = 0
	newAnchor = 1
)

var modelAnchors = [2]ca.AnchorID{{1}, {2}}

// modelEpoch is the moment at which the model's clock always stands: a tick moves
// everything else into the past instead, so that worlds which differ only in the
// time of day are one.
var modelEpoch = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// never stands for a moment that there is not.
const never = int8(99)

// What a replica can be.
const (
	nobody     = uint8(iota)
	absent     // it may join
	registered // the primary knows it; it has not started
	serving
	removed
)

// world is one state. Everything in it is a byte, so that it is hashed as memory.
type world struct {
	plan      planState
	slow      planState // what another controller has decided and not stored yet
	isSlow    bool
	acts      uint8                // what the adversary may do once and has done, as bits
	published [7]uint8             // by sequence: a bit for each anchor, 0 where there is none yet
	sent      [modelZones][5]uint8 // by zone and epoch: 1 + the anchor of the command, 0 for none
	members   [modelZones][modelReplicas]member
	flying    flight
}

// planState is a Plan of the model; times are ticks from now.
type planState struct {
	phase, epoch, sequence, needed uint8
	highWater, leaseEnd, evident   int8
	zones                          [modelZones]zoneState
	emergency                      uint8 // 0 none, 1 decided, 2 taken
	reissued                       uint8
}

type zoneState struct {
	in, commanded, excluded, returning bool
	lease                              int8
}

// member is a replica and the verifiers that it serves.
type member struct {
	state         uint8
	epoch, signer uint8
	held          [modelClasses]uint8 // sequence that its verifiers hold, by class; 0 for none
	leaf          [2]int8             // ticks that its longest leaf under the anchor has left
	lease         int8                // ticks until its intermediate ends; never while it is renewed
	got           report              // the last that the primary has of it
}

// report is a Report of the model.
type report struct {
	made          bool
	epoch, signer uint8
	held          [modelClasses]uint8
	highWater     int8 // of the anchor that can drain at its epoch: the less the controller knows, the worse
}

// flight is a report on its way.
type flight struct {
	isOn          bool
	zone, replica uint8
	report        report
}

var phases = []Phase{Staged, Distributing, Activating, Draining, Retiring, Done, Aborting, Aborted}

func phaseIndex(p Phase) uint8 {
	for i, known := range phases {
		if known == p {
			return uint8(i)
		}
	}
	panic("unknown phase " + p)
}

// rules are what a world has and what can happen in it.
type rules struct {
	name     string
	replicas [modelZones][modelReplicas]uint8 // what each is at first
	classes  int
	skew     int8 // ticks that the clock of a verifier may be slow
	standby  bool // the new anchor is in the bundle before
	aborts   bool
	flights  bool     // reports arrive late, also after later ones
	leaves   bool     // one who serves is removed
	excludes bool     // zone b is excluded, and may return
	observes bool     // somebody else publishes once
	slow     bool     // a second controller decides, and stores later
	short    bool     // intermediates live as long as leaves, no longer
	urgent   bool     // the old anchor is dropped by an emergency, reissue first
	ablate   []string // the guards that it needs
}

// model is a search's view of a world.
type model struct {
	rules
	guards  guards
	decided map[visible]planState // what Next says, by what it sees
}

// visible is what a controller sees.
type visible struct {
	plan    planState
	members [modelZones][modelReplicas]struct {
		state uint8
		lease int8
		got   report
	}
}

func (m *model) begin() world {
	w := world{plan: planState{sequence: 1, highWater: never, leaseEnd: never, evident: never}}
	w.published[1] = 1 << oldAnchor
	if m.standby {
		w.published[2], w.plan.sequence, w.plan.needed = 1<<oldAnchor|1<<newAnchor, 2, 2
	}
	for z := range modelZones {
		w.plan.zones[z].lease = never
		for r := range modelReplicas {
			is := &w.members[z][r]
			is.state, is.lease, is.leaf, is.got.highWater = m.replicas[z][r], never, m.noLeaf(), never
			if is.state == serving {
				w.plan.zones[z].in = true
				is.hold(1, m.classes)
			}
		}
	}
	w.flying.report.highWater = never
	return w
}

func (is *member) hold(sequence uint8, classes int) {
	for c := range classes {
		is.held[c] = sequence
	}
}

// noLeaf is a leaf that is dead at every clock.
func (m *model) noLeaf() [2]int8 { return [2]int8{-m.skew, -m.skew} }

// at is the moment that is ticks from now; the zero time for never.
func at(ticks int8) time.Time {
	if ticks == never {
		return time.Time{}
	}
	return modelEpoch.Add(time.Duration(ticks) * time.Second)
}

func ticks(t time.Time) int8 {
	if t.IsZero() {
		return never
	}
	return int8(t.Sub(modelEpoch) / time.Second)
}

func zoneName(z int) Zone { return Zone([]string{"a", "b"}[z]) }

// real is the Plan of a state.
func (m *model) real(s planState) Plan {
	p := Plan{
		ID: "model", Old: modelAnchors[oldAnchor], New: modelAnchors[newAnchor], Phase: phases[s.phase], Mode: ModeAuto,
		Epoch: uint64(s.epoch), Sequence: uint64(s.sequence), First: 1, Needed: uint64(s.needed), NewPublished: m.standby,
		HighWater: at(s.highWater), LeaseEnd: at(s.leaseEnd), Evident: at(s.evident),
		Skew: time.Duration(m.skew) * time.Second, LeafTTL: leafLife * time.Second, Silent: time.Hour,
	}
	if m.standby {
		p.First = 2
	}
	for z, state := range s.zones {
		if state.in {
			one := ZoneState{Name: zoneName(z), Commanded: state.commanded, Returning: state.returning, Lease: at(state.lease)}
			if state.excluded {
				one.Excluded = "by the adversary"
			}
			p.Zones = append(p.Zones, one)
		}
	}
	if s.emergency > 0 {
		p.Emergency = &Emergency{Anchor: p.Old, Actor: "operator", Taken: s.emergency == 2, Reissued: uint64(s.reissued)}
	}
	return p
}

// state is real the other way.
func (m *model) state(p Plan) planState {
	s := planState{
		phase: phaseIndex(p.Phase), epoch: uint8(p.Epoch), sequence: uint8(p.Sequence), needed: uint8(p.Needed),
		highWater: ticks(p.HighWater), leaseEnd: ticks(p.LeaseEnd), evident: ticks(p.Evident),
	}
	for z := range modelZones {
		s.zones[z].lease = never
		if i := p.zone(zoneName(z)); i >= 0 {
			one := p.Zones[i]
			s.zones[z] = zoneState{true, one.Commanded, one.Excluded != "", one.Returning, ticks(one.Lease)}
		}
	}
	if p.Emergency != nil {
		s.emergency, s.reissued = 1, uint8(p.Emergency.Reissued)
		if p.Emergency.Taken {
			s.emergency = 2
		}
	}
	return m.aged(s)
}

// aged forgets the moments of a plan that have passed at every clock.
func (m *model) aged(s planState) planState {
	past := func(n *int8, limit int8) {
		if *n < limit {
			*n = never
		}
	}
	past(&s.highWater, -m.skew)
	past(&s.leaseEnd, -m.skew)
	for z := range s.zones {
		past(&s.zones[z].lease, -m.skew)
	}
	if s.evident != never {
		s.evident = max(s.evident, -2*m.skew)
	}
	if m.skew == 0 {
		s.evident = never // it waits for nothing
	}
	switch phases[s.phase] {
	case Staged, Distributing, Retiring:
		s.highWater = never
	case Done, Aborted:
		s.highWater, s.leaseEnd, s.evident = never, never, never
	}
	for z := range s.zones {
		s.zones[z].commanded = s.zones[z].commanded && phases[s.phase] == Activating
	}
	return s
}

// store puts a plan into the world and takes its steps: publications and commands
// are out from then on, for the adversary to deliver. It returns what is broken by
// that.
func (m *model) store(w *world, p Plan) string {
	before := w.plan
	w.plan = m.state(p)
	if w.plan.sequence < before.sequence || w.plan.epoch < before.epoch {
		return "a sequence or an epoch falls"
	}
	for _, s := range p.Steps() {
		if s.Publish.Sequence > 0 && !w.publish(s.Publish) {
			return "one sequence is two bundles, or none"
		}
		for z := range modelZones {
			if s.Command.Epoch > 0 && zoneName(z) == s.Command.Zone {
				w.sent[z][s.Command.Epoch] = 1 + indexOf(s.Command.Signer)
			}
		}
	}
	for z := range modelZones {
		if before.zones[z].excluded && !w.plan.zones[z].excluded {
			w.enrol(z, p.CommandFor(zoneName(z)))
		}
	}
	return ""
}

// publish appends to the chain up to a publication's sequence.
func (w *world) publish(pub Publication) bool {
	head := uint8(0)
	for seq, anchors := range w.published {
		if anchors != 0 {
			head = uint8(seq)
		}
	}
	anchors := w.published[head]
	for _, a := range pub.With {
		anchors |= 1 << indexOf(a)
	}
	for _, a := range pub.Without {
		anchors &^= 1 << indexOf(a)
	}
	if head == uint8(pub.Sequence) && w.published[head] != anchors || anchors&(1<<indexOf(pub.Active)) == 0 {
		return false
	}
	for ; head < uint8(pub.Sequence); head++ {
		w.published[head+1] = anchors
	}
	return true
}

// enrol is a zone that takes part again: whose intermediate has ended gets another,
// under the anchor of the last command.
func (w *world) enrol(z int, c ca.Command) {
	for r := range w.members[z] {
		is := &w.members[z][r]
		if is.state != serving || is.lease == never {
			continue
		}
		if is.lease <= 0 {
			is.epoch, is.signer = uint8(c.Epoch), indexOf(c.Signer)
		}
		is.lease = never
	}
}

func indexOf(a ca.AnchorID) uint8 {
	if a == modelAnchors[newAnchor] {
		return newAnchor
	}
	return oldAnchor
}

// next is what a controller makes of what it sees.
func (m *model) next(w *world) planState {
	seen := visible{plan: w.plan}
	for z := range w.members {
		for r, is := range w.members[z] {
			seen.members[z][r].state, seen.members[z][r].lease, seen.members[z][r].got = is.state, is.lease, is.got
		}
	}
	if s, known := m.decided[seen]; known {
		return s
	}
	s := m.state(m.real(w.plan).next(modelEpoch, m.reports(w), m.guards).Plan)
	m.decided[seen] = s
	return s
}

// reports are what the primary has of everybody who is registered, or was.
func (m *model) reports(w *world) []Report {
	var all []Report
	for z := range w.members {
		for r, is := range w.members[z] {
			if is.state > absent {
				all = append(all, m.report(z, r, is))
			}
		}
	}
	return all
}

func (m *model) report(z, r int, is member) Report {
	one := Report{Zone: zoneName(z), Replica: string('0' + rune(r))}
	if is.got.made {
		one.Received, one.Epoch, one.Signer = modelEpoch, uint64(is.got.epoch), modelAnchors[is.got.signer]
		one.Coverage = map[ca.VerifierClass]ca.Coverage{}
		for c, class := range []ca.VerifierClass{ca.ClassRenewal, ca.ClassPush}[:m.classes] {
			one.Coverage[class] = ca.Coverage{Sequence: uint64(is.got.held[c]), Live: 1, Behind: 1}
			one.Sequence = max(one.Sequence, uint64(is.got.held[c]))
		}
		if is.got.highWater != never {
			one.HighWater = map[ca.AnchorID]time.Time{modelAnchors[draining(is.got.epoch)]: at(is.got.highWater)}
		}
	}
	if is.state == removed {
		one.Removed, one.Lease = true, at(is.lease)
	}
	return one
}

// draining is the anchor whose leaves die at an epoch: the old one, until the plan
// is aborted; the old one again in an emergency after that.
func draining(epoch uint8) uint8 {
	if epoch == 2 {
		return newAnchor
	}
	return oldAnchor
}
