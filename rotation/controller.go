package rotation

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Journal holds the one plan of a trust domain.
//
// Load returns it with its version; version 0 is a journal without a plan. Replace
// is a compare-and-swap: it stores next when the version is still old, and is an
// *ca.Error with ReasonStale when it is not. When it returns an error of another
// kind the outcome is unknown, and the plan has to be loaded again. What it has
// stored survives a crash.
type Journal interface {
	Load(ctx context.Context) (Plan, ca.Version, error)
	Replace(ctx context.Context, old ca.Version, next Plan) (ca.Version, error)
}

// Zones are the zones and the bundle that they follow.
//
// Reports returns the last report of every replica that is registered when it is
// called, with Received zero where there is none yet. A replica that was removed stays,
// with Removed, until its lease and its last leaf have ended and the plan is over. A
// replica is registered before it is told which bundle is in force and under which
// anchor to sign: so whoever may have been told something old is among those who are
// asked.
//
// Apply takes a step; it is idempotent, and a step that does not reach its zone is an
// error that changes nothing. An *ca.Error of the class Malformed, Denied or Conflict
// says that trying again does not help.
type Zones interface {
	Reports(ctx context.Context) ([]Report, error)
	Apply(ctx context.Context, plan Plan, step Step) error
}

// Controller moves the plan of a journal. It keeps nothing in memory: any number of
// them may run, and a crash anywhere is resumed by the next Tick of any.
type Controller struct {
	journal Journal
	zones   Zones
}

// NewController makes a controller over a journal and its zones.
func NewController(j Journal, z Zones) (*Controller, error) {
	if j == nil || z == nil {
		return nil, fmt.Errorf("controller needs a journal and zones")
	}
	return &Controller{journal: j, zones: z}, nil
}

// Tick looks once: load, ask the zones, decide, store, and only then act. Steps that
// fail are returned together with the outcome, and are taken again at the next Tick;
// after one that cannot succeed an automatic plan is manual.
func (c *Controller) Tick(ctx context.Context, now time.Time) (Outcome, error) {
	plan, version, err := c.journal.Load(ctx)
	if err != nil {
		return Outcome{}, fmt.Errorf("loading the plan: %w", err)
	}
	if version == 0 {
		return Outcome{}, ca.Refuse(ca.ReasonNotFound, "there is no rotation")
	}
	reports, err := c.zones.Reports(ctx)
	if err != nil {
		return Outcome{Plan: plan}, fmt.Errorf("asking the zones: %w", err)
	}
	out := plan.Next(now, reports)
	if !reflect.DeepEqual(out.Plan, plan) {
		if _, err := c.journal.Replace(ctx, version, out.Plan); err != nil {
			return Outcome{Plan: plan}, fmt.Errorf("storing the plan: %w", err)
		}
	}
	failed := c.apply(ctx, out)
	if failed != nil && isFinal(failed) && out.Plan.Mode == ModeAuto {
		manual, err := c.Change(ctx, func(p Plan) (Plan, error) { return p.Distrusted(failed.Error()), nil })
		if err == nil {
			out.Plan = manual
		}
		failed = errors.Join(failed, err)
	}
	return out, failed
}

// apply takes the steps of an outcome.
func (c *Controller) apply(ctx context.Context, out Outcome) error {
	var failed []error
	for _, step := range out.Steps {
		if err := c.zones.Apply(ctx, out.Plan, step); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// isFinal tells whether trying again does not help: something is otherwise than the
// plan believes.
func isFinal(err error) bool {
	switch ca.ReasonOf(err).Class() {
	case ca.Malformed, ca.Denied, ca.Conflict:
		return true
	}
	return false
}

// Start stores a plan. One that is under way is not replaced: the error has its id.
// What the plan before has published last is out before.
func (c *Controller) Start(ctx context.Context, next Plan) error {
	plan, version, err := c.journal.Load(ctx)
	if err != nil {
		return fmt.Errorf("loading the plan: %w", err)
	}
	if version != 0 {
		if err := plan.precedes(next); err != nil {
			return err
		}
		if err := c.apply(ctx, Outcome{Plan: plan, Steps: plan.Steps()}); err != nil {
			return fmt.Errorf("ending rotation %s: %w", plan.ID, err)
		}
	}
	if _, err := c.journal.Replace(ctx, version, next); err != nil {
		return fmt.Errorf("storing the plan: %w", err)
	}
	return nil
}

// precedes tells whether next may take the place of p.
func (p Plan) precedes(next Plan) error {
	switch {
	case !p.IsOver():
		return ca.Refuse(ca.ReasonStale, "rotation %s is under way, it is %s; wait for it or abort it", p.ID, p.Phase)
	case next.Epoch < p.Epoch || next.Sequence < p.Sequence:
		return ca.Refuse(ca.ReasonStale, "the plan begins at command %d and bundle %d, and rotation %s has come to %d and %d", next.Epoch, next.Sequence, p.ID, p.Epoch, p.Sequence)
	}
	return nil
}

// Change stores what change makes of the plan: an abort, an exclusion. The steps
// follow at the next Tick.
func (c *Controller) Change(ctx context.Context, change func(Plan) (Plan, error)) (Plan, error) {
	plan, version, err := c.journal.Load(ctx)
	if err != nil {
		return Plan{}, fmt.Errorf("loading the plan: %w", err)
	}
	if version == 0 {
		return Plan{}, ca.Refuse(ca.ReasonNotFound, "there is no rotation")
	}
	next, err := change(plan)
	if err != nil {
		return plan, err
	}
	if _, err := c.journal.Replace(ctx, version, next); err != nil {
		return plan, fmt.Errorf("storing the plan: %w", err)
	}
	return next, nil
}
