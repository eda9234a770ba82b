// Package rotationapitest has a primary in memory for the tests of those who speak
// with one: its plans are real ones, its zones report what a test says. It refuses
// nothing that a plan does not. Only tests import it.
package rotationapitest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/rotation"
)

// Primary is a primary with the zones eu-1 and eu-2, of one replica each.
type Primary struct {
	CA       *catest.CA
	Old, New ca.AnchorID

	mu       sync.Mutex
	now      time.Time
	view     rotationapi.View
	history  []rotation.Plan
	acts     []rotationapi.Act
	looks    int
	onLook   func(looks int, v *rotationapi.View)
	excluded time.Time
	fail     error
}

// LeafTTL is the life of a leaf.
const LeafTTL = 24 * time.Hour

// New makes a primary over the bundle of a catest.CA, which has a standby.
func New(t testing.TB) *Primary {
	t.Helper()
	c := catest.New(t)
	p := &Primary{CA: c, now: catest.Start, Old: ca.AnchorIDOf(c.Bundle.Active())}
	for _, a := range c.Bundle.Anchors() {
		if a.Slot == ca.SlotStandby {
			p.New = ca.AnchorIDOf(a.Certificate)
		}
	}
	require.False(t, p.New.IsZero())
	p.excluded = p.now.Add(5 * LeafTTL)
	p.view.Bundle = c.Bundle
	for _, name := range []string{"eu-1", "eu-2"} {
		p.view.Reports = append(p.view.Reports, p.report(rotation.Zone(name)))
	}
	return p
}

// report is a replica that holds the bundle in force, as all its verifiers do.
func (p *Primary) report(zone rotation.Zone) rotation.Report {
	sequence := p.CA.Bundle.Sequence()
	return rotation.Report{
		Zone: zone, Replica: string(zone) + "-a", Signer: p.Old, Sequence: sequence, Version: "1",
		Coverage: map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: sequence, Live: 9880}},
		Live:     map[ca.AnchorID]int{p.Old: 9880}, HighWater: map[ca.AnchorID]time.Time{p.Old: p.now.Add(LeafTTL)},
		Lease: p.now.Add(5 * LeafTTL), Clock: p.now, Received: p.now, Canary: map[ca.AnchorID]string{p.Old: "", p.New: ""},
	}
}

// Now is the primary's clock.
func (p *Primary) Now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// Set changes what the primary knows.
func (p *Primary) Set(change func(v *rotationapi.View)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.view)
}

// OnLook has change called at each View, with the number of looks before it.
func (p *Primary) OnLook(change func(looks int, v *rotationapi.View)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onLook = change
}

// Fail makes every act fail as one does whose event cannot be recorded.
func (p *Primary) Fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = &ca.Error{Reason: ca.ReasonRecordFailed, Err: errors.New("disk full")}
}

// Acts are the acts so far.
func (p *Primary) Acts() []rotationapi.Act {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.acts)
}

// Plan is the last plan.
func (p *Primary) Plan() rotation.Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view.Plan
}

// View implements rotationapi.Plans.
func (p *Primary) View(context.Context) (rotationapi.View, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.onLook != nil {
		p.onLook(p.looks, &p.view)
	}
	p.looks++
	v := p.view
	v.Reports = slices.Clone(v.Reports)
	return v, nil
}

// note records an act, as an event is recorded before what it tells of.
func (p *Primary) note(act rotationapi.Act) error {
	if p.fail != nil {
		return p.fail
	}
	p.acts = append(p.acts, act)
	return nil
}

// Change implements rotationapi.Plans.
func (p *Primary) Change(_ context.Context, act rotationapi.Act, change func(rotation.Plan, time.Time) (rotation.Plan, error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next, err := change(p.view.Plan, p.now)
	if err != nil {
		return err
	}
	if err := p.note(act); err != nil {
		return err
	}
	p.view.Plan = next
	return nil
}

// plan makes the plan of an order.
func (p *Primary) plan(o rotationapi.Order) (rotation.Plan, error) {
	if p.view.IsUnderWay() {
		return rotation.Plan{}, ca.Refuse(ca.ReasonStale, "rotation %s is under way", p.view.Plan.ID)
	}
	if o.New.IsZero() {
		o.New = p.New
	}
	s := rotation.Start{
		ID: "20261124-1", Old: p.Old, New: o.New, OldEnd: p.CA.Bundle.Active().NotAfter, LeafTTL: LeafTTL, Skew: time.Minute,
		Sequence: p.CA.Bundle.Sequence(), Standby: p.CA.Bundle.Sequence(), Zones: []rotation.Zone{"eu-1", "eu-2"},
		Mode: o.Mode, Dwell: o.Dwell, Window: o.Window, Actor: o.Actor, Reason: o.Reason, ApprovalsNeeded: 2, Emergency: o.Emergency,
	}
	if o.First == "eu-2" {
		slices.Reverse(s.Zones)
	}
	return rotation.New(s, p.now)
}

// Propose implements admin.Rotations.
func (p *Primary) Propose(_ context.Context, o rotationapi.Order) (rotationapi.View, rotation.Preview, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	plan, err := p.plan(o)
	v := p.view
	v.Plan = plan
	return v, plan.Preview(p.now, v.Reports), err
}

// Start implements admin.Rotations.
func (p *Primary) Start(_ context.Context, o rotationapi.Order) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	plan, err := p.plan(o)
	if err != nil {
		return err
	}
	if err := p.note(rotationapi.Act{Actor: o.Actor, Action: "rotation.start", Detail: map[string]string{"because": o.Reason}}); err != nil {
		return err
	}
	p.view.Plan, p.history = plan, append([]rotation.Plan{plan}, p.history...)
	return nil
}

// Exclude implements admin.Rotations.
func (p *Primary) Exclude(ctx context.Context, zone rotation.Zone, reason string, act rotationapi.Act) error {
	return p.Change(ctx, act, func(plan rotation.Plan, _ time.Time) (rotation.Plan, error) {
		return plan.Exclude(zone, reason, p.excluded)
	})
}

// History implements admin.Rotations.
func (p *Primary) History(context.Context) ([]rotation.Plan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.history), nil
}

// Reconstruct implements admin.Rotations: the zones are always one phase ahead.
func (p *Primary) Reconstruct(_ context.Context, m *rotationapi.Mending) (rotationapi.Reconstruction, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := rotationapi.Reconstruction{
		Journal: rotation.Distributing, Derived: rotation.Activating, Findings: []string{"zone eu-1 signs under the new anchor"},
		Actions: []string{"take command 1 from zone eu-1"}, Applied: m != nil,
	}
	if m == nil {
		return found, nil
	}
	return found, p.note(m.Act)
}

// Halt implements admin.Rotations. The replicas obey when a test says so.
func (p *Primary) Halt(_ context.Context, why string, act rotationapi.Act) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.view.Halted = why
	return p.note(act)
}
