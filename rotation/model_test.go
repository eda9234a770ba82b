package rotation

import (
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// The model is a small world around the real Next: two zones of two replicas, one
// group of verifiers each, leaves that live one tick, and an adversary who loses,
// delays, repeats and reorders everything, feeds stale bundles, lets controllers
// run with old reports, and aborts at any moment.
const (
	modelZones    = 2
	modelReplicas = 2
	leafLife      = 1 // ticks
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

// world is one state. It is comparable, so that a map can hold what was seen.
type world struct {
	phase     uint8 // index in phases
	epoch     uint8
	sequence  uint8
	highWater int8 // ticks from now; noBound without one
	commanded [modelZones]bool

	published [4]uint8             // by sequence: a bit for each anchor, 0 where there is none yet
	sent      [modelZones][3]uint8 // by zone and epoch: 1 + the anchor of the command, 0 for none

	held    [modelZones]uint8 // sequence that the verifiers hold
	replica [modelZones][modelReplicas]replica
	leaf    [modelZones][2]int8 // ticks that the longest leaf of the zone under the anchor has left

	flying   [modelZones]report // on their way to the controller
	received [modelZones]report // the last that it has
}

type replica struct{ epoch, signer uint8 }

// report is a Report of the model.
type report struct {
	made      bool
	epoch     uint8
	signer    uint8 // 2 while the replicas differ
	sequence  uint8
	highWater int8 // of the anchor that can drain at its epoch: the less the controller knows, the worse
}

const noBound = int8(-9)

var noReport = report{highWater: noBound}

var phases = []Phase{Staged, Distributing, Activating, Draining, Retiring, Done, Aborting, Aborted}

func phaseIndex(p Phase) uint8 {
	for i, known := range phases {
		if known == p {
			return uint8(i)
		}
	}
	panic("unknown phase " + p)
}

func begin() world {
	w := world{sequence: 1, highWater: noBound}
	w.published[1] = 1 << oldAnchor
	for z := range modelZones {
		w.held[z] = 1
		w.flying[z], w.received[z] = noReport, noReport
	}
	return w
}

// at is the moment that is ticks from now; the zero time without a bound.
func at(ticks int8) time.Time {
	if ticks == noBound {
		return time.Time{}
	}
	return modelEpoch.Add(time.Duration(ticks) * time.Second)
}

func ticks(t time.Time) int8 {
	if t.IsZero() {
		return noBound
	}
	return int8(t.Sub(modelEpoch) / time.Second)
}

// plan is the real Plan of a world.
func (w *world) plan() Plan {
	p := Plan{
		ID: "model", Old: modelAnchors[oldAnchor], New: modelAnchors[newAnchor], Phase: phases[w.phase],
		Epoch: uint64(w.epoch), Sequence: uint64(w.sequence), First: 1, HighWater: at(w.highWater), Mode: ModeAuto,
	}
	if p.Needed = p.Sequence; p.Phase == Staged {
		p.Needed = 0
	}
	for z := range modelZones {
		p.Zones = append(p.Zones, ZoneState{Name: zoneName(z), Commanded: w.commanded[z]})
	}
	return p
}

func zoneName(z int) Zone { return Zone([]string{"a", "b"}[z]) }

// store puts a plan into the world and takes its steps: publications and commands
// are out from then on, for the adversary to deliver.
func (w *world) store(p Plan) {
	w.phase, w.epoch, w.sequence, w.highWater = phaseIndex(p.Phase), uint8(p.Epoch), uint8(p.Sequence), ticks(p.HighWater)
	for z := range modelZones {
		w.commanded[z] = p.Zones[z].Commanded
	}
	for _, s := range p.steps() {
		if s.Publish.Sequence > 0 {
			w.published[s.Publish.Sequence] = 0
			for _, a := range s.Publish.With {
				w.published[s.Publish.Sequence] |= 1 << indexOf(a)
			}
		}
		if s.Command.Epoch > 0 {
			for z := range modelZones {
				if zoneName(z) == s.Command.Zone {
					w.sent[z][s.Command.Epoch] = 1 + indexOf(s.Command.Signer)
				}
			}
		}
	}
}

func indexOf(a ca.AnchorID) uint8 {
	if a == modelAnchors[newAnchor] {
		return newAnchor
	}
	return oldAnchor
}

// reports are what the controller knows.
func (w *world) reports() []Report {
	var all []Report
	for z, r := range w.received {
		if r.made {
			all = append(all, r.real(zoneName(z)))
		}
	}
	return all
}

func covered(sequence uint8) map[ca.VerifierClass]ca.Coverage {
	return map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: uint64(sequence), Live: 1, Behind: 1}}
}

func (r report) real(zone Zone) Report {
	real := Report{
		Zone: zone, Epoch: uint64(r.epoch), Sequence: uint64(r.sequence), Coverage: covered(r.sequence),
		HighWater: map[ca.AnchorID]time.Time{}, Received: modelEpoch,
	}
	if r.signer < 2 {
		real.Signer = modelAnchors[r.signer]
	}
	if r.highWater != noBound {
		real.HighWater[modelAnchors[draining(r.epoch)]] = at(r.highWater)
	}
	return real
}

// draining is the anchor whose leaves die at an epoch: the old one, until the plan
// is aborted.
func draining(epoch uint8) uint8 {
	if epoch >= 2 {
		return newAnchor
	}
	return oldAnchor
}

// observe is the report that zone z would make now, by the real Merge. Without the
// guard it is that of one replica alone.
func (w *world) observe(z int, g guards, only int) report {
	var replicas []Report
	for i, r := range w.replica[z] {
		if !g.minimum && i != only {
			continue
		}
		one := Report{Zone: zoneName(z), Epoch: uint64(r.epoch), Signer: modelAnchors[r.signer], Sequence: uint64(w.held[z]), Coverage: covered(w.held[z])}
		one.HighWater = map[ca.AnchorID]time.Time{}
		for a, left := range w.leaf[z] {
			one.HighWater[modelAnchors[a]] = at(bound(left))
		}
		replicas = append(replicas, one)
	}
	merged, _ := Merge(replicas)
	made := report{made: true, epoch: uint8(merged.Epoch), signer: 2, sequence: uint8(merged.Sequence)}
	if merged.Signer != (ca.AnchorID{}) {
		made.signer = indexOf(merged.Signer)
	}
	made.highWater = ticks(merged.HighWater[modelAnchors[draining(made.epoch)]])
	return made
}

// bound is the end of leaves that have n ticks left, none for dead ones.
func bound(n int8) int8 {
	if n == 0 {
		return noBound
	}
	return n
}

// tick lets a unit of time pass.
func (w *world) tick() {
	older := func(n *int8) {
		if *n--; *n < 0 { // a bound that has passed is none
			*n = noBound
		}
	}
	older(&w.highWater)
	for z := range modelZones {
		for a := range w.leaf[z] {
			w.leaf[z][a] = max(w.leaf[z][a]-1, 0)
		}
		older(&w.flying[z].highWater)
		older(&w.received[z].highWater)
	}
}

// canonical makes worlds that nothing tells apart one: it sorts the replicas of a
// zone, and forgets what no phase that can follow reads.
func (w world) canonical() world {
	switch phase := phases[w.phase]; phase {
	case Done, Aborted:
		w.flying, w.received = [modelZones]report{noReport, noReport}, [modelZones]report{noReport, noReport}
		w.commanded, w.highWater = [modelZones]bool{}, noBound
	case Retiring:
		w.commanded, w.highWater = [modelZones]bool{}, noBound
		for z := range modelZones {
			w.flying[z], w.received[z] = w.flying[z].only(w.sequence), w.received[z].only(w.sequence)
		}
	case Draining, Aborting:
		w.commanded = [modelZones]bool{}
	}
	for z := range w.replica {
		r := &w.replica[z]
		if r[0].epoch > r[1].epoch || r[0].epoch == r[1].epoch && r[0].signer > r[1].signer {
			r[0], r[1] = r[1], r[0]
		}
	}
	return w
}

// only keeps of a report whether it holds a bundle.
func (r report) only(sequence uint8) report {
	if r.sequence < sequence {
		return noReport
	}
	return report{made: true, sequence: sequence, highWater: noBound}
}

// broken is S1: the zone whose verifiers do not have the anchor of a leaf that
// lives, and of whom.
func (w *world) broken() (string, bool) {
	for a, name := range []string{"old", "new"} {
		alive := false
		for z := range modelZones {
			alive = alive || w.leaf[z][a] > 0
		}
		if !alive {
			continue
		}
		for z := range modelZones {
			if w.published[w.held[z]]&(1<<a) == 0 {
				return "a leaf under the " + name + " anchor meets verifiers of zone " + string(zoneName(z)) + " that do not have it", true
			}
		}
	}
	return "", false
}
