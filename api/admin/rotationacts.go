package admin

import (
	"context"
	"slices"
	"time"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// change does something to the plan that the operator means, and to no other.
func (s *rotations) change(ctx context.Context, a rotationapi.Act, plan string, do func(rotation.Plan, time.Time) (rotation.Plan, error)) (*kedgev1.RotationStatus, error) {
	err := s.c.Rotations.Change(ctx, a, func(p rotation.Plan, now time.Time) (rotation.Plan, error) {
		if err := rotationapi.IsMeant(p, plan); err != nil {
			return p, err
		}
		return do(p, now)
	})
	if err != nil {
		return nil, err
	}
	return s.Status(ctx, nil)
}

// refused gives an error of a plan that has no reason the one of a bad request.
func refused(p rotation.Plan, err error) (rotation.Plan, error) {
	if err != nil && ca.ReasonOf(err) == ca.ReasonInternal {
		err = &ca.Error{Reason: ca.ReasonRequest, Err: err}
	}
	return p, err
}

func (s *rotations) Advance(ctx context.Context, r *kedgev1.AdvanceRotationRequest) (*kedgev1.RotationStatus, error) {
	a, err := act(ctx, "rotation.advance", "", false)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, a, r.GetPlan(), func(p rotation.Plan, now time.Time) (rotation.Plan, error) {
		if r.GetPhase() != string(p.Phase) {
			return p, ca.Refuse(ca.ReasonStale, "the rotation is %s, not %q", p.Phase, r.GetPhase())
		}
		return refused(p.Advance(a.Actor, now))
	})
}

func (s *rotations) Pause(ctx context.Context, r *kedgev1.ChangeRotationRequest) (*kedgev1.RotationStatus, error) {
	a, err := act(ctx, "rotation.pause", r.GetReason(), false)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, a, r.GetPlan(), func(p rotation.Plan, now time.Time) (rotation.Plan, error) { return refused(p.Pause(a.Actor, now)) })
}

func (s *rotations) Resume(ctx context.Context, r *kedgev1.ChangeRotationRequest) (*kedgev1.RotationStatus, error) {
	a, err := act(ctx, "rotation.resume", r.GetReason(), false)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, a, r.GetPlan(), func(p rotation.Plan, now time.Time) (rotation.Plan, error) { return refused(p.Resume(a.Actor, now)) })
}

func (s *rotations) SetMode(ctx context.Context, r *kedgev1.SetRotationModeRequest) (*kedgev1.RotationStatus, error) {
	a, err := act(ctx, "rotation.mode", "", false)
	if err != nil {
		return nil, err
	}
	a.Detail["mode"] = r.GetMode()
	mode, err := parseMode(r.GetMode())
	if err != nil {
		return nil, err
	}
	return s.change(ctx, a, r.GetPlan(), func(p rotation.Plan, _ time.Time) (rotation.Plan, error) { return refused(p.SetMode(mode)) })
}

func (s *rotations) Abort(ctx context.Context, r *kedgev1.ChangeRotationRequest) (*kedgev1.RotationStatus, error) {
	a, err := act(ctx, "rotation.abort", r.GetReason(), true)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, a, r.GetPlan(), func(p rotation.Plan, now time.Time) (rotation.Plan, error) {
		return refused(p.Abort(a.Actor, r.GetReason(), now))
	})
}

func (s *rotations) Approve(ctx context.Context, r *kedgev1.ChangeRotationRequest) (*kedgev1.RotationStatus, error) {
	a, err := s.operator(ctx, "rotation.approve", r.GetReason(), false)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, a, r.GetPlan(), func(p rotation.Plan, now time.Time) (rotation.Plan, error) { return refused(p.Approve(a.Actor, now)) })
}

func (s *rotations) Confirm(ctx context.Context, r *kedgev1.ConfirmRotationRequest) (*kedgev1.RotationStatus, error) {
	a, err := act(ctx, "rotation.confirm", r.GetReason(), true)
	if err != nil {
		return nil, err
	}
	a.Detail["zone"], a.Detail["class"] = r.GetZone(), r.GetClass()
	return s.change(ctx, a, r.GetPlan(), func(p rotation.Plan, now time.Time) (rotation.Plan, error) {
		return refused(p.Confirm(rotation.Confirmation{
			Zone: rotation.Zone(r.GetZone()), Class: ca.VerifierClass(r.GetClass()), Actor: a.Actor, Reason: r.GetReason(), At: now,
		}))
	})
}

func (s *rotations) ExcludeZone(ctx context.Context, r *kedgev1.RotationZoneRequest) (*kedgev1.RotationStatus, error) {
	a, err := act(ctx, "rotation.exclude", r.GetReason(), true)
	if err != nil {
		return nil, err
	}
	a.Detail["zone"] = r.GetZone()
	v, err := s.c.Rotations.View(ctx)
	if err != nil {
		return nil, err
	}
	if err := rotationapi.IsMeant(v.Plan, r.GetPlan()); err != nil {
		return nil, err
	}
	zone := rotation.Zone(r.GetZone())
	if !slices.ContainsFunc(v.Plan.Zones, func(z rotation.ZoneState) bool { return z.Name == zone }) {
		return nil, ca.Refuse(ca.ReasonRequest, "zone %q takes no part in rotation %s", zone, v.Plan.ID)
	}
	if err := s.c.Rotations.Exclude(ctx, zone, r.GetReason(), a); err != nil {
		return nil, err
	}
	return s.Status(ctx, nil)
}

func (s *rotations) IncludeZone(ctx context.Context, r *kedgev1.RotationZoneRequest) (*kedgev1.RotationStatus, error) {
	a, err := act(ctx, "rotation.include", r.GetReason(), false)
	if err != nil {
		return nil, err
	}
	a.Detail["zone"] = r.GetZone()
	return s.change(ctx, a, r.GetPlan(), func(p rotation.Plan, _ time.Time) (rotation.Plan, error) {
		return refused(p.Include(rotation.Zone(r.GetZone())))
	})
}

// Emergency counts the cost, and without dry_run makes the decision.
func (s *rotations) Emergency(ctx context.Context, r *kedgev1.EmergencyRequest) (*kedgev1.EmergencyResponse, error) {
	a, err := s.operator(ctx, "rotation.emergency", r.GetReason(), true)
	if err != nil {
		return nil, err
	}
	now := s.c.Now()
	decision := rotation.Emergency{Distrust: r.GetDistrustNow(), Deadline: timeOf(r.GetDeadline()), Actor: a.Actor, Reason: r.GetReason(), At: now}
	if !decision.Deadline.IsZero() && (decision.Distrust || !decision.Deadline.After(now)) {
		return nil, ca.Refuse(ca.ReasonRequest, "a deadline lies ahead, and is of no use where the anchor is dropped at once")
	}
	to, err := s.anchor(ctx, r.GetNewAnchor())
	if err != nil {
		return nil, err
	}
	o := rotationapi.Order{New: to, Actor: a.Actor, Reason: r.GetReason(), Emergency: &decision}
	v, preview, err := s.emergencyView(ctx, r.GetPlan(), o)
	if err != nil {
		return nil, err
	}
	answer := &kedgev1.EmergencyResponse{
		Cost: rotationapi.Cost(v, dropped(v.Plan), s.c.Rate(ctx), now.Add(-silent(v.Plan))), Diff: rotationapi.Diff(v),
	}
	if r.GetDryRun() {
		answer.Blockers = rotationapi.Preview(v, preview, now).GetBlockers()
		return answer, nil
	}
	if r.GetPlan() == "" {
		err = s.c.Rotations.Start(ctx, o)
	} else {
		_, err = s.change(ctx, a, r.GetPlan(), func(p rotation.Plan, _ time.Time) (rotation.Plan, error) { return emergencyOf(p, o) })
	}
	if err != nil {
		return nil, err
	}
	answer.Status, err = s.Status(ctx, nil)
	return answer, err
}

// emergencyView is what is known, with the plan as the emergency would make it.
func (s *rotations) emergencyView(ctx context.Context, plan string, o rotationapi.Order) (rotationapi.View, rotation.Preview, error) {
	if plan == "" {
		return s.c.Rotations.Propose(ctx, o)
	}
	v, err := s.c.Rotations.View(ctx)
	if err != nil {
		return v, rotation.Preview{}, err
	}
	if err := rotationapi.IsMeant(v.Plan, plan); err != nil {
		return v, rotation.Preview{}, err
	}
	if v.Plan, err = emergencyOf(v.Plan, o); err != nil {
		return v, rotation.Preview{}, err
	}
	return v, v.Plan.Preview(s.c.Now(), v.Reports), nil
}

// emergencyOf makes the plan under way leave the anchor that the order does not move to.
func emergencyOf(p rotation.Plan, o rotationapi.Order) (rotation.Plan, error) {
	decision := *o.Emergency
	switch o.New {
	case ca.AnchorID{}, p.New:
		decision.Anchor = p.Old
	case p.Old:
		decision.Anchor = p.New
	default:
		return p, ca.Refuse(ca.ReasonStale, "rotation %s is between %.8s and %.8s; abort it before another anchor is moved to", p.ID, p.Old, p.New)
	}
	return refused(p.MakeEmergency(decision))
}

// dropped is the anchor that the emergency leaves.
func dropped(p rotation.Plan) ca.AnchorID {
	if p.Emergency != nil && !p.Emergency.Anchor.IsZero() {
		return p.Emergency.Anchor
	}
	return p.Old
}

// silent is how old a report may be.
func silent(p rotation.Plan) time.Duration {
	if p.Silent > 0 {
		return p.Silent
	}
	return rotation.DefaultSilent
}
