package rotation

import (
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Preview is what will happen, as far as it can be known: nothing that it says is
// stored or done.
type Preview struct {
	Phases []Forecast `json:"phases"`
	// Add and Drop are how the bundle will differ when the plan has succeeded.
	Add      []ca.AnchorID `json:"add,omitempty"`
	Drop     []ca.AnchorID `json:"drop,omitempty"`
	Blockers []Blocker     `json:"blockers,omitempty"` // there already
}

// Forecast is a phase to come, or the present one.
type Forecast struct {
	Phase Phase `json:"phase"`
	// Earliest is when it can end, if every zone answers at once and every operator lets
	// go at once.
	Earliest time.Time `json:"earliest"`
	Waits    string    `json:"waits"` // for what
}

// Preview tells what is to come of the plan.
func (p Plan) Preview(now time.Time, reports []Report) Preview {
	preview := Preview{Blockers: p.Next(now, reports).Blockers}
	if p.IsOver() {
		return preview
	}
	f := forecaster{plan: p, at: now, reports: reports}
	switch p.Phase {
	case Aborting:
		f.drain(Aborting)
	case Staged:
		f.add(Staged, now, "approvals and the operator")
		fallthrough
	case Distributing:
		f.distribute()
		fallthrough
	case Activating:
		f.add(Activating, f.at, "every replica's report that it signs under the new anchor, the canary zone first")
		fallthrough
	case Draining:
		f.drain(Draining)
		fallthrough
	case Retiring:
		f.add(Retiring, f.at, "every replica's report that it holds the bundle without the old anchor")
		preview.Drop = []ca.AnchorID{p.Old}
		if !p.NewPublished {
			preview.Add = []ca.AnchorID{p.New}
		}
	}
	preview.Phases = f.phases
	return preview
}

// forecaster adds phase to phase.
type forecaster struct {
	plan    Plan
	at      time.Time
	reports []Report
	phases  []Forecast
}

func (f *forecaster) add(phase Phase, earliest time.Time, waits string) {
	if f.plan.Mode == ModeAuto && f.plan.Emergency == nil && (phase == Distributing || phase == Draining || phase == Staged) {
		if phase != Staged {
			earliest = later(earliest, f.at.Add(f.plan.Dwell))
		}
		earliest = f.plan.Window.Opens(earliest)
	}
	f.at = later(f.at, earliest)
	f.phases = append(f.phases, Forecast{phase, f.at, waits})
}

// distribute forecasts when every verifier has the new anchor. Whoever learns of it by
// renewing does so within the life of a leaf, unless it was published before.
func (f *forecaster) distribute() {
	earliest := f.at
	for _, r := range f.reports {
		for class, c := range r.Coverage {
			switch {
			case f.plan.Needed > 0 && c.Sequence >= f.plan.Needed:
			case f.plan.Needed > 0:
				earliest = later(earliest, c.Oldest)
			case class == ca.ClassRenewal && c.Live > 0:
				earliest = later(earliest, f.at.Add(f.plan.LeafTTL))
			}
		}
	}
	if f.plan.Emergency == nil {
		earliest = earliest.Add(2 * f.plan.Skew) // until those who count no more are dead at every clock
	}
	if !f.plan.Evident.IsZero() {
		earliest = f.plan.Evident.Add(2 * f.plan.Skew)
	}
	f.add(Distributing, earliest, "every verifier's last sight of a bundle with the new anchor")
}

// drain forecasts when the last leaf is dead: those signed until the moment of
// activation live as long as leaves do.
func (f *forecaster) drain(phase Phase) {
	end := later(f.plan.HighWater, f.plan.LeaseEnd)
	for _, z := range f.plan.Zones {
		if z.Excluded != "" {
			end = later(end, z.Lease)
		}
	}
	if f.plan.Phase != phase || phase == Aborting && f.plan.HighWater.IsZero() {
		end = later(end, f.at.Add(f.plan.LeafTTL))
	}
	switch e := f.plan.Emergency; {
	case e != nil && e.Distrust:
		end = f.at
	case e != nil && !e.Deadline.IsZero() && e.Deadline.Before(end):
		end = e.Deadline
	default:
		end = end.Add(f.plan.Skew)
	}
	f.add(phase, end, "the end of the last leaf under the anchor that leaves")
}
