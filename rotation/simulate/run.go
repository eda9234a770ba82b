package simulate

import (
	"context"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// The two anchors; in the simulation an anchor is its id.
var (
	oldAnchor = ca.AnchorID{1}
	newAnchor = ca.AnchorID{2}
	anchors   = [2]ca.AnchorID{oldAnchor, newAnchor}
)

// epoch is when virtual time begins: a Monday, because scenarios have windows.
var epoch = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func index(a ca.AnchorID) int {
	if a == newAnchor {
		return 1
	}
	return 0
}

// run is a simulation under way. Times in it are numbers of steps.
type run struct {
	scenario   Scenario
	random     random
	step       int
	ttl, renew int
	jitter     int
	leaseSteps int
	spread     int
	capacity   int     // of a replica in a step
	reach      float64 // the chance of a message in a step
	first      uint64
	head       uint64
	bundles    map[uint64]contents
	commands   []ca.Command
	zones      []zone
	replicas   []*replica
	plan       rotation.Plan
	waits      operator
	result     Result
	watch      gauges
}

// contents says which anchors a bundle has.
type contents [2]bool

func (c contents) lacks(a ca.AnchorID) bool { return !c[index(a)] }

type zone struct {
	name       rotation.Zone
	isQuiet    bool
	isDead     bool
	isExcluded bool
}

// Run simulates a scenario that Check has passed, once as it is and, where it asks for
// renewals, once without spreading them, for the difference. It stops with the error of
// ctx.
func Run(ctx context.Context, s Scenario) (Result, error) {
	if err := s.Check(); err != nil {
		return Result{}, err
	}
	r, err := newRun(s)
	if err != nil {
		return Result{}, err
	}
	if err := r.run(ctx); err != nil || !s.Reissue || s.Spread == 0 {
		return r.result, err
	}
	s.Spread = 0
	herd, err := newRun(s)
	if err != nil {
		return Result{}, err
	}
	err = herd.run(ctx)
	r.result.Rate.Unspread = herd.result.Rate.Peak
	return r.result, err
}

func newRun(s Scenario) (*run, error) {
	steps := func(d Duration) int { return int(d / s.Step) }
	r := &run{
		scenario: s, random: random{s.Seed}, ttl: steps(s.LeafTTL), leaseSteps: steps(s.Intermediate),
		capacity: int(float64(s.Capacity) * time.Duration(s.Step).Seconds()), reach: 1 - s.Loss,
		first: 1, head: 1, bundles: map[uint64]contents{1: {true, s.Standby}},
	}
	r.spread = steps(s.Spread)
	if s.Lag > s.Step {
		r.reach *= float64(s.Step) / float64(s.Lag)
	}
	r.renew = max(int(float64(r.ttl)*s.RenewAt), 1)
	r.jitter = min(int(float64(r.renew)*s.Jitter), r.renew-1)
	var names []rotation.Zone
	for z := range s.Zones {
		name := rotation.Zone(fmt.Sprintf("zone-%04d", z))
		names = append(names, name)
		r.zones = append(r.zones, zone{name: name})
		r.commands = append(r.commands, ca.Command{Signer: oldAnchor, Epoch: 1})
		for n := range s.Replicas {
			r.replicas = append(r.replicas, newReplica(r, z, fmt.Sprint(n)))
		}
	}
	window, err := rotation.ParseWindow(s.Window)
	if err != nil {
		return nil, err
	}
	start := rotation.Start{
		ID: "simulated", Old: oldAnchor, New: newAnchor, OldEnd: epoch.AddDate(10, 0, 0), LeafTTL: time.Duration(s.LeafTTL),
		Skew: time.Duration(s.Skew), Silent: max(rotation.DefaultSilent, 3*time.Duration(s.Step), 10*time.Duration(s.Lag)),
		Epoch: 1, Sequence: 1, Zones: names, Mode: s.Mode, Dwell: time.Duration(s.Dwell), Window: window, Actor: "operator",
	}
	if s.Standby {
		start.Standby = 1
	}
	if r.plan, err = rotation.New(start, epoch); err != nil {
		return nil, fmt.Errorf("starting the rotation: %w", err)
	}
	r.begin()
	return r, nil
}

func (r *run) at(step int) time.Time {
	return epoch.Add(time.Duration(step) * time.Duration(r.scenario.Step))
}

// run lets time pass until the plan is over and nobody is stranded by it, or the limit
// has come.
func (r *run) run(ctx context.Context) error {
	limit := int(r.scenario.Limit / r.scenario.Step)
	for r.step = 0; r.step < limit && !(r.plan.IsOver() && r.watch.stranded == 0); r.step++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("simulating: %w", err)
		}
		r.weather()
		for _, one := range r.replicas {
			z := r.zones[one.zone]
			one.live(!z.isDead)
			if z.isQuiet {
				continue
			}
			if r.random.happens(r.reach) {
				one.hear()
			}
			if r.random.happens(r.reach) {
				one.tell(r.at(r.step))
			}
		}
		r.control()
		r.measure()
	}
	r.finish()
	return nil
}

// weather is what befalls zones and consumers.
func (r *run) weather() {
	now := Duration(r.step) * r.scenario.Step
	for z := range r.zones {
		r.zones[z].isQuiet, r.zones[z].isDead = false, false
	}
	last := len(r.zones) // silences take zones from the end, so that none has two
	for _, quiet := range r.scenario.Silences {
		for z := max(last-quiet.Zones, 0); z < last; z++ {
			if now >= quiet.From && (quiet.For == 0 || now < quiet.From+quiet.For) {
				r.zones[z].isQuiet, r.zones[z].isDead = true, quiet.Dead
			}
		}
		last = max(last-quiet.Zones, 0)
	}
	for _, storm := range r.scenario.Storms {
		if storm.At/r.scenario.Step == Duration(r.step) {
			for _, one := range r.replicas {
				one.pull(storm.Share, 1, true)
			}
		}
	}
}

// control is a look of the primary, with what the operator does before it.
func (r *run) control() {
	now := r.at(r.step)
	reports := make([]rotation.Report, 0, len(r.replicas))
	for _, one := range r.replicas {
		reports = append(reports, one.report)
	}
	r.operate(now)
	out := r.plan.Next(now, reports)
	r.note(out)
	r.plan = out.Plan
	for _, step := range out.Steps {
		if pub := step.Publish; pub.Sequence > r.head {
			r.publish(pub)
		}
	}
	for z := range r.zones {
		if c := r.plan.CommandFor(r.zones[z].name); c.Epoch > r.commands[z].Epoch {
			r.commands[z] = c
		}
	}
	for _, state := range r.plan.Zones {
		var z int
		if _, err := fmt.Sscanf(string(state.Name), "zone-%d", &z); err == nil {
			r.zones[z].isExcluded = state.Excluded != ""
		}
	}
}

func (r *run) publish(pub rotation.Publication) {
	next := r.bundles[r.head]
	for _, a := range pub.With {
		next[index(a)] = true
	}
	for _, a := range pub.Without {
		next[index(a)] = false
	}
	for r.head < pub.Sequence {
		r.head++
		r.bundles[r.head] = next
	}
}
