package primary

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/journal"
)

const (
	// tickEvery is how often a primary looks, and renews its lease.
	tickEvery = time.Second
	// leaseTerm is how long it leads without: so long another waits to take over.
	leaseTerm = 3 * time.Second
	// keepTokens is how long a join token is kept after its end, so that whoever comes
	// late with it is told so.
	keepTokens = 7 * 24 * time.Hour
	sweepEvery = time.Hour
)

// Run works until ctx ends. Errors go to failed, which may be nil; none of them ends
// it. At the end it gives up the lease.
func (p *Primary) Run(ctx context.Context, failed func(error)) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		if err := p.Tick(ctx); err != nil && ctx.Err() == nil && failed != nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := p.leaders.GiveUp(last, p.holder(), p.c.Now()); err != nil && failed != nil {
				failed(err)
			}
			return
		case <-ticker.C:
		}
	}
}

// Tick looks once. The process that leads moves the plan under way; another only
// reads what was published, and adds bundle keys where it can sign.
func (p *Primary) Tick(ctx context.Context) error {
	head, err := p.refresh(ctx)
	if err != nil {
		return err
	}
	failed := []error{p.enrolKeys(ctx)}
	leads, err := p.leads(ctx)
	if err != nil || !leads {
		return errors.Join(append(failed, err)...)
	}
	found, err := p.forks(ctx, head)
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	if len(found) > 0 {
		p.note(rotation.Outcome{Blockers: found})
		return errors.Join(append(failed, p.distrust(ctx, found[0]), p.forked(ctx, head))...)
	}
	return errors.Join(append(failed, p.move(ctx), p.schedule(ctx), p.sweep(ctx))...)
}

// leads renews or takes the lease, and tells whether this process has it.
func (p *Primary) leads(ctx context.Context) (bool, error) {
	now := p.c.Now()
	before, err := p.leaders.Leader(ctx)
	if err != nil {
		return false, err
	}
	leader, err := p.leaders.Take(ctx, p.holder(), now, leaseTerm)
	if err != nil {
		return false, err
	}
	leads := leader.Holder == p.holder() && now.Before(leader.Until)
	if leads && leader.Epoch != before.Epoch {
		err = p.record(ctx, system, "primary.lead", map[string]string{"replica": p.c.Replica, "epoch": strconv.FormatUint(leader.Epoch, 10)})
	}
	p.mu.Lock()
	p.lead = leads
	p.mu.Unlock()
	return leads, err
}

// note remembers the last outcome for Status.
func (p *Primary) note(out rotation.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = out
}

// move runs the plan under way once.
func (p *Primary) move(ctx context.Context) error {
	plan, version, err := p.plans.Load(ctx)
	if err != nil || version == 0 {
		p.note(rotation.Outcome{})
		return err
	}
	if err := p.reconcile(ctx, plan); err != nil {
		return err
	}
	controller, err := rotation.NewController(recorded{p}, zones{p})
	if err != nil {
		return err
	}
	out, err := controller.Tick(ctx, p.c.Now())
	p.note(out)
	if err != nil && !plan.IsOver() && isLasting(err) {
		err = errors.Join(err, p.distrust(ctx, rotation.Blocker{Why: err.Error()}))
	}
	return err
}

// isLasting tells whether trying again does not help.
func isLasting(err error) bool {
	switch ca.ReasonOf(err) {
	case ca.ReasonStale, ca.ReasonNotReady:
		return false
	}
	switch ca.ReasonOf(err).Class() {
	case ca.Malformed, ca.Denied, ca.Conflict:
		return true
	}
	return false
}

// distrust makes an automatic plan manual.
func (p *Primary) distrust(ctx context.Context, why rotation.Blocker) error {
	plan, version, err := p.plans.Load(ctx)
	if err != nil || version == 0 || plan.IsOver() || plan.Mode != rotation.ModeAuto {
		return err
	}
	act := Act{Actor: system, Action: "rotation.manual", Detail: map[string]string{"because": why.String()}}
	_, err = p.Change(ctx, act, func(plan rotation.Plan, _ time.Time) (rotation.Plan, error) {
		return plan.Distrusted(why.String()), nil
	})
	return err
}

// reconcile tells the plan of zones that have joined and of those that were removed,
// where whoever did that was interrupted.
func (p *Primary) reconcile(ctx context.Context, plan rotation.Plan) error {
	if plan.IsOver() {
		return nil
	}
	all, err := p.registry.Zones(ctx)
	if err != nil {
		return err
	}
	removed := make(map[rotation.Zone]bool)
	for _, z := range all {
		removed[z.Name] = !z.Removed.IsZero()
	}
	for _, z := range plan.Zones {
		if removed[z.Name] {
			if err := p.leave(ctx, z.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// admit takes a zone into the plan under way.
func (p *Primary) admit(ctx context.Context, zone rotation.Zone) error {
	act := Act{Actor: system, Action: "rotation.admit", Detail: map[string]string{"zone": string(zone)}}
	return p.changeUnlessOver(ctx, act, func(plan rotation.Plan, _ time.Time) (rotation.Plan, error) {
		return plan.Admit(zone), nil
	})
}

// leave takes a zone that was removed out of the plan under way, but for its leaves.
func (p *Primary) leave(ctx context.Context, zone rotation.Zone) error {
	end, err := p.leaseOf(ctx, zone)
	if err != nil {
		return err
	}
	act := Act{Actor: system, Action: "rotation.leave", Detail: map[string]string{"zone": string(zone), "lease": end.UTC().Format(time.RFC3339)}}
	return p.changeUnlessOver(ctx, act, func(plan rotation.Plan, _ time.Time) (rotation.Plan, error) {
		return plan.Leave(zone, end)
	})
}

func (p *Primary) changeUnlessOver(ctx context.Context, act Act, change func(rotation.Plan, time.Time) (rotation.Plan, error)) error {
	plan, version, err := p.plans.Load(ctx)
	if err != nil || version == 0 || plan.IsOver() {
		return err
	}
	_, err = p.Change(ctx, act, change)
	return err
}

// sweep deletes join tokens that have been of no use for long.
func (p *Primary) sweep(ctx context.Context) error {
	now := p.c.Now()
	p.mu.Lock()
	isDue := now.Sub(p.swept) >= sweepEvery
	if isDue {
		p.swept = now
	}
	p.mu.Unlock()
	if !isDue {
		return nil
	}
	return p.tokens.Sweep(ctx, now.Add(-keepTokens))
}

// recorded is the journal of the plan for the controller: it tells the plan of what
// was published by others, and records each phase before it is stored.
type recorded struct{ p *Primary }

var _ rotation.Journal = recorded{}

// Load implements rotation.Journal. The plan takes the sequences that others have
// used, or mean to, before it takes one of its own.
func (r recorded) Load(ctx context.Context) (rotation.Plan, ca.Version, error) {
	plan, version, err := r.p.plans.Load(ctx)
	if err != nil || version == 0 || plan.IsOver() {
		return plan, version, err
	}
	head, err := r.p.refresh(ctx)
	if err != nil {
		return plan, version, err
	}
	sequence, err := r.p.sequence(ctx, head)
	if err != nil || sequence <= plan.Sequence {
		return plan, version, err
	}
	plan = plan.Observe(sequence)
	version, err = r.p.plans.Replace(ctx, version, plan)
	return plan, version, err
}

// Replace implements rotation.Journal.
func (r recorded) Replace(ctx context.Context, old ca.Version, next rotation.Plan) (ca.Version, error) {
	was, _, err := r.p.plans.Load(ctx)
	if err != nil {
		return 0, err
	}
	if was.Phase != next.Phase {
		detail := map[string]string{
			"plan": next.ID, "from": string(was.Phase), "to": string(next.Phase),
			"sequence": strconv.FormatUint(next.Sequence, 10), "epoch": strconv.FormatUint(next.Epoch, 10),
		}
		if err := r.p.record(ctx, system, "rotation.phase", detail); err != nil {
			return 0, err
		}
	}
	version, err := r.p.plans.Replace(ctx, old, next)
	if err == nil {
		r.p.notify()
	}
	return version, err
}

var _ rotation.Journal = (*journal.Plans)(nil)
