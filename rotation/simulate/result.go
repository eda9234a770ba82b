package simulate

import (
	"slices"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// Result is what a simulation came to. Durations are virtual, since the start.
type Result struct {
	Scenario Scenario       `json:"scenario"`
	Ended    rotation.Phase `json:"ended"` // the last phase; another than done or aborted when the limit came first
	Took     Duration       `json:"took"`
	Phases   []Phase        `json:"phases"`
	// Bundle is when verifiers had the bundle with the new anchor, and Leaves when holders
	// had a leaf under it, each since the plan asked for that.
	Bundle Convergence `json:"bundle"`
	Leaves Convergence `json:"leaves"`
	Rate   Rate        `json:"rate"`
	// Blockers are what held the plan up, by kind.
	Blockers []Hold `json:"blockers"`
	// Broken is the most verifiers that did not have the anchor of a living leaf at one
	// time: those of zones that are excluded are not counted.
	Broken int `json:"broken"`
	// Stranded is the most consumers whose leaf is under an anchor that the bundle has
	// dropped: what an emergency costs.
	Stranded int `json:"stranded"`
}

// Phase is how long the plan was in one.
type Phase struct {
	Phase rotation.Phase `json:"phase"`
	Began Duration       `json:"began"`
	Took  Duration       `json:"took"`
}

// Convergence is when so many percent had followed; Never where they had not.
type Convergence struct {
	P50  Duration `json:"p50"`
	P99  Duration `json:"p99"`
	P100 Duration `json:"p100"`
}

// Never stands for what has not come.
const Never = Duration(-1)

// Rate is of certificates a second, of all replicas together, as means over a step.
type Rate struct {
	Mean     float64  `json:"mean"` // what renewals alone need
	Peak     float64  `json:"peak"`
	PeakAt   Duration `json:"peakAt"`
	Unspread float64  `json:"unspread"` // the peak when everybody renews at once; 0 when that was not simulated
}

// Hold is a kind of blocker, over the whole plan.
type Hold struct {
	Code    rotation.Code  `json:"code"`
	Phase   rotation.Phase `json:"phase"`
	First   Duration       `json:"first"`
	Last    Duration       `json:"last"`
	Zones   int            `json:"zones"`   // the most at one time
	Example string         `json:"example"` // the first
}

// gauges are what is measured on the way.
type gauges struct {
	phaseBegan    int
	stranded      int
	asked, signed int // the steps in which the bundle was published and signing began; -1 before
}

func (r *run) begin() {
	r.result = Result{Scenario: r.scenario, Bundle: Convergence{Never, Never, Never}, Leaves: Convergence{Never, Never, Never}}
	r.watch = gauges{asked: -1, signed: -1}
	consumers := float64(r.scenario.Consumers/r.scenario.Replicas*r.scenario.Replicas) * float64(r.scenario.Zones)
	r.result.Rate.Mean = consumers / (float64(r.renew) * time.Duration(r.scenario.Step).Seconds())
}

func (r *run) since(step int) Duration { return Duration(step) * r.scenario.Step }

// note keeps what a look of the primary said.
func (r *run) note(out rotation.Outcome) {
	if out.Plan.Phase != r.plan.Phase {
		r.closePhase()
	}
	if r.watch.asked < 0 && out.Plan.Phase == rotation.Distributing {
		r.watch.asked = r.step
	}
	if r.watch.signed < 0 && out.Plan.Signer() == newAnchor {
		r.watch.signed = r.step
	}
	zones := map[rotation.Code]map[rotation.Zone]bool{}
	for _, b := range out.Blockers {
		if b.Code == rotation.CodeAdvance && r.waits.advance.IsZero() {
			r.waits.advance = r.at(r.step)
		}
		i := slices.IndexFunc(r.result.Blockers, func(h Hold) bool { return h.Code == b.Code && h.Phase == out.Plan.Phase })
		if i < 0 {
			i = len(r.result.Blockers)
			r.result.Blockers = append(r.result.Blockers, Hold{Code: b.Code, Phase: out.Plan.Phase, First: r.since(r.step), Example: b.String()})
		}
		if zones[b.Code] == nil {
			zones[b.Code] = map[rotation.Zone]bool{}
		}
		if b.Zone != "" {
			zones[b.Code][b.Zone] = true
		}
		h := &r.result.Blockers[i]
		h.Last, h.Zones = r.since(r.step), max(h.Zones, len(zones[b.Code]))
	}
}

func (r *run) closePhase() {
	r.result.Phases = append(r.result.Phases, Phase{r.plan.Phase, r.since(r.watch.phaseBegan), r.since(r.step - r.watch.phaseBegan)})
	r.watch.phaseBegan = r.step
}

// measure looks at everybody.
func (r *run) measure() {
	total, covered, moved, rate, broken, stranded := 0, 0, 0, 0, 0, 0
	var living [2]int
	for _, one := range r.replicas {
		rate += one.rate
		living[0] += one.living[0]
		living[1] += one.living[1]
	}
	for _, one := range r.replicas {
		isExcluded := r.zones[one.zone].isExcluded
		for _, c := range one.cohorts {
			if c.last+r.ttl <= r.step {
				continue // their leaves have ended
			}
			total += c.live
			if c.anchor == newAnchor {
				moved += c.live
			}
			if r.bundles[r.head].lacks(c.anchor) {
				stranded += c.live
			}
			if c.sequence > 0 {
				covered += r.count(c.sequence, c.live)
				broken += r.fails(c.sequence, living, c.live, isExcluded)
			}
		}
		covered += r.count(one.held, one.pushed-one.behind) + r.count(one.acked, one.behind)
		broken += r.fails(one.held, living, one.pushed-one.behind, isExcluded) + r.fails(one.acked, living, one.behind, isExcluded)
	}
	r.watch.stranded = stranded
	r.result.Broken, r.result.Stranded = max(r.result.Broken, broken), max(r.result.Stranded, stranded)
	if second := float64(rate) / time.Duration(r.scenario.Step).Seconds(); second > r.result.Rate.Peak {
		r.result.Rate.Peak, r.result.Rate.PeakAt = second, r.since(r.step)
	}
	r.converge(&r.result.Bundle, r.watch.asked, covered, total)
	r.converge(&r.result.Leaves, r.watch.signed, moved, total)
}

// count is n, if the bundle has the new anchor.
func (r *run) count(sequence uint64, n int) int {
	if r.bundles[sequence].lacks(newAnchor) {
		return 0
	}
	return n
}

// fails is n, if the bundle lacks the anchor of a leaf that lives.
func (r *run) fails(sequence uint64, living [2]int, n int, isExcluded bool) int {
	for a, anchor := range [2]ca.AnchorID{oldAnchor, newAnchor} {
		if living[a] > 0 && r.bundles[sequence].lacks(anchor) && !isExcluded {
			return n
		}
	}
	return 0
}

func (r *run) converge(c *Convergence, from, have, total int) {
	if from < 0 || total == 0 {
		return
	}
	for _, mark := range []struct {
		at      *Duration
		percent int
	}{{&c.P50, 50}, {&c.P99, 99}, {&c.P100, 100}} {
		if *mark.at == Never && have*100 >= total*mark.percent {
			*mark.at = r.since(r.step - from)
		}
	}
}

func (r *run) finish() {
	if !r.plan.IsOver() {
		r.closePhase()
	}
	r.result.Ended, r.result.Took = r.plan.Phase, r.since(r.step)
}
