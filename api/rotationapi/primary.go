package rotationapi

import (
	"context"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// Primary is a primary.Primary as an operator speaks with it. The zero value is of no
// use; NewPrimary makes one.
type Primary struct {
	get   func() (*primary.Primary, error)
	roots ca.RootFor
}

// NewPrimary makes one over get, which returns the primary once it is open, and roots,
// which know the certificate of an anchor that is in no bundle yet.
func NewPrimary(get func() (*primary.Primary, error), roots ca.RootFor) (*Primary, error) {
	if get == nil || roots == nil {
		return nil, fmt.Errorf("rotations need a primary and its roots")
	}
	return &Primary{get: get, roots: roots}, nil
}

// View implements Plans.
func (p *Primary) View(ctx context.Context) (View, error) {
	of, err := p.get()
	if err != nil {
		return View{}, err
	}
	return p.view(ctx, of)
}

func (p *Primary) view(ctx context.Context, of *primary.Primary) (View, error) {
	s, err := of.Status(ctx)
	if err != nil {
		return View{}, err
	}
	v := View{Bundle: s.Bundle, Plan: s.Plan, Halted: s.Halted, Proposal: s.Due}
	for _, b := range s.Blockers {
		if b.Code == rotation.CodeForked { // the others are the plan's own
			v.Blockers = append(v.Blockers, b)
		}
	}
	for _, z := range s.Zones {
		for _, r := range z.Replicas {
			if r.Report.Zone != "" { // one that is gone with all its leaves says nothing
				v.Reports = append(v.Reports, r.Report)
			}
		}
	}
	p.know(ctx, &v)
	return v, nil
}

// know finds the certificate of an anchor that is in no bundle yet. Without it the
// difference of the bundle lacks a line, and nothing else.
func (p *Primary) know(ctx context.Context, v *View) {
	if !v.IsUnderWay() || v.Bundle.Contains(v.Plan.New) {
		return
	}
	root, err := p.roots(ctx, v.Plan.New)
	if err != nil {
		return
	}
	if anchor, err := root.Anchor(ctx); err == nil && ca.AnchorIDOf(anchor) == v.Plan.New {
		v.New = anchor
	}
}

// request is an order as package primary has it.
func request(o Order) primary.StartRequest {
	r := primary.StartRequest{New: o.New, Mode: o.Mode, Dwell: o.Dwell, Window: o.Window, Actor: o.Actor, Reason: o.Reason, Emergency: o.Emergency}
	if o.First != "" {
		r.First = []rotation.Zone{o.First}
	}
	return r
}

// Propose implements admin.Rotations.
func (p *Primary) Propose(ctx context.Context, o Order) (View, rotation.Preview, error) {
	of, err := p.get()
	if err != nil {
		return View{}, rotation.Preview{}, err
	}
	v, err := p.view(ctx, of)
	if err != nil {
		return v, rotation.Preview{}, err
	}
	if v.IsUnderWay() {
		return v, rotation.Preview{}, ca.Refuse(ca.ReasonStale, "rotation %s is under way, it is %s", v.Plan.ID, v.Plan.Phase)
	}
	proposal, err := of.Propose(ctx, request(o))
	if err != nil {
		return v, rotation.Preview{}, err
	}
	v.Plan = proposal.Plan
	p.know(ctx, &v)
	return v, proposal.Preview, nil
}

// Start implements admin.Rotations.
func (p *Primary) Start(ctx context.Context, o Order) error {
	of, err := p.get()
	if err != nil {
		return err
	}
	_, err = of.Start(ctx, request(o))
	return err
}

// Change implements Plans.
func (p *Primary) Change(ctx context.Context, act Act, change func(rotation.Plan, time.Time) (rotation.Plan, error)) error {
	of, err := p.get()
	if err != nil {
		return err
	}
	_, err = of.Change(ctx, primary.Act(act), change)
	return err
}

// Exclude implements admin.Rotations.
func (p *Primary) Exclude(ctx context.Context, zone rotation.Zone, _ string, act Act) error {
	of, err := p.get()
	if err != nil {
		return err
	}
	_, err = of.Exclude(ctx, zone, primary.Act(act))
	return err
}

// History implements admin.Rotations.
func (p *Primary) History(ctx context.Context) ([]rotation.Plan, error) {
	of, err := p.get()
	if err != nil {
		return nil, err
	}
	return of.History(ctx)
}

// Halt implements admin.Rotations.
func (p *Primary) Halt(ctx context.Context, why string, act Act) error {
	of, err := p.get()
	if err != nil {
		return err
	}
	if why == "" {
		return of.Resume(ctx, act.Actor)
	}
	return of.Halt(ctx, act.Actor, why)
}

// Reconstruct implements admin.Rotations.
func (p *Primary) Reconstruct(ctx context.Context, m *Mending) (Reconstruction, error) {
	of, err := p.get()
	if err != nil {
		return Reconstruction{}, err
	}
	seen, err := of.Reconstruct(ctx)
	if err != nil {
		return Reconstruction{}, err
	}
	found := describe(seen)
	if m == nil || found.Agrees {
		return found, nil
	}
	taking := primary.Taking{Actor: m.Act.Actor, Reason: m.Act.Detail["because"]}
	if taking.Chain, err = decodeBundles(m.Bundles); err != nil {
		return found, err
	}
	if err := of.Take(ctx, taking); err != nil {
		return found, err
	}
	found.Applied = true
	return found, nil
}

func decodeBundles(raw [][]byte) ([]bundle.Signed, error) {
	var chain []bundle.Signed
	for _, one := range raw {
		s, err := primary.Decode(one)
		if err != nil {
			return nil, &ca.Error{Reason: ca.ReasonBundleMalformed, Err: err}
		}
		chain = append(chain, s)
	}
	return chain, nil
}

// describe puts into words what was found, and what would put it right.
func describe(r primary.Reconstruction) Reconstruction {
	found := Reconstruction{Derived: r.Shown, Agrees: r.Agrees()}
	if r.Plan.ID != "" {
		found.Journal = r.Plan.Phase
	}
	found.Findings = append(found.Findings, fmt.Sprintf("the journal has come to bundle %d (%.16s) and command %d", r.Sequence, r.Hash, r.Epoch))
	if r.Highest.Sequence > 0 {
		found.Findings = append(found.Findings, fmt.Sprintf("the highest bundle that a replica holds is %d (%.16s), of zone %s, replica %s", r.Highest.Sequence, r.Highest.BundleHash, r.Highest.Zone, r.Highest.Replica))
	}
	for _, b := range r.Forks {
		found.Findings = append(found.Findings, b.String())
	}
	if found.Agrees {
		return found
	}
	if r.Highest.Sequence > r.Sequence {
		found.Actions = append(found.Actions, fmt.Sprintf("go on from bundle %d of replica %s of zone %s, which has to be given (--bundles)", r.Highest.Sequence, r.Highest.Replica, r.Highest.Zone))
	}
	if r.Plan.ID != "" && !r.Plan.IsOver() {
		found.Actions = append(found.Actions, fmt.Sprintf("take the phase %s, manual mode, and a command above every one that a replica follows", r.Shown))
	}
	return found
}
