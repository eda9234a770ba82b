package simulate

import (
	"time"

	"github.com/kedge-ca/kedge/rotation"
)

// operator is who looks at the plan now and then.
type operator struct {
	advance time.Time // since when a phase waits to be let go
	acted   bool      // the abort or emergency of the scenario was made
}

// operate does what the scenario's operator does by now. What the plan refuses has
// come too late and is no error: the result shows that it was not done.
func (r *run) operate(now time.Time) {
	s := &r.scenario
	since := Duration(r.step) * s.Step
	keep := func(p rotation.Plan, err error) {
		if err == nil {
			r.plan = p
		}
	}
	if !r.waits.advance.IsZero() && now.Sub(r.waits.advance) >= time.Duration(s.Operator) {
		keep(r.plan.Advance("operator", now))
		r.waits.advance = time.Time{}
	}
	switch {
	case r.waits.acted:
	case s.AbortAt > 0 && since >= s.AbortAt:
		r.waits.acted = true
		keep(r.plan.Abort("operator", "the scenario's", now))
	case s.Emergency != nil && since >= s.Emergency.At:
		r.waits.acted = true
		e := rotation.Emergency{Distrust: s.Emergency.Distrust, Percent: s.Emergency.Percent, Actor: "operator", Reason: "the scenario's", At: now}
		if s.Emergency.Deadline > 0 {
			e.Deadline = now.Add(time.Duration(s.Emergency.Deadline))
		}
		keep(r.plan.MakeEmergency(e))
	}
	last := len(r.zones)
	for _, quiet := range s.Silences {
		from := last - quiet.Zones
		for z := max(from, 0); z < last && quiet.Exclude; z++ {
			switch name := r.zones[z].name; {
			case since == quiet.From+s.Operator:
				keep(r.plan.Exclude(name, "it is silent", r.leaseOf(z)))
			case quiet.For > 0 && since == quiet.From+quiet.For+s.Operator:
				keep(r.plan.Include(name))
			}
		}
		last = max(from, 0)
	}
}

func (r *run) leaseOf(z int) time.Time {
	end := r.at(r.step)
	for _, one := range r.replicas {
		if at := r.at(one.lease); one.zone == z && at.After(end) {
			end = at
		}
	}
	return end
}
