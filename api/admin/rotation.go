package admin

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// Rotations are what the primary can do for an operator. Each method that changes
// something records an event with the act, and fails where it cannot; each is safe for
// concurrent use.
type Rotations interface {
	rotationapi.Plans
	// Propose tells what Start would start: a view that has the plan, and what would
	// follow. It stores nothing.
	Propose(ctx context.Context, o rotationapi.Order) (rotationapi.View, rotation.Preview, error)
	Start(ctx context.Context, o rotationapi.Order) error
	// Exclude goes on without a zone, whose leaves are waited for.
	Exclude(ctx context.Context, zone rotation.Zone, reason string, act rotationapi.Act) error
	// History is every plan there was, the latest first.
	History(ctx context.Context) ([]rotation.Plan, error)
	// Reconstruct derives the phase from what the zones hold. With a mending it puts the
	// journal right where that is safe, and returns what it had found before.
	Reconstruct(ctx context.Context, m *rotationapi.Mending) (rotationapi.Reconstruction, error)
	// Halt stops issuing in every zone because of why; "" lets it go on.
	Halt(ctx context.Context, why string, act rotationapi.Act) error
}

// RotationConfig is what the service is made of; all fields are needed.
type RotationConfig struct {
	Rotations Rotations
	// Rate is how fast certificates are issued, for the cost of an emergency.
	Rate func(ctx context.Context) rotationapi.Rate
	// MayOperate tells whether an actor, "uid:0", may start rotations and agree to them.
	MayOperate func(actor string) bool
	Now        func() time.Time
	Poll       time.Duration // how often Watch and those who wait look again
	Patience   time.Duration // how long Verify and Halt wait for the replicas
}

// RegisterRotation serves kedge.v1.Rotation on r, which must be a server with
// Credentials.
func RegisterRotation(r grpc.ServiceRegistrar, c RotationConfig) error {
	if c.Rotations == nil || c.Rate == nil || c.MayOperate == nil || c.Now == nil || c.Poll <= 0 || c.Patience <= 0 {
		return fmt.Errorf("rotation service is incomplete")
	}
	kedgev1.RegisterRotationServer(r, &rotations{c: c})
	return nil
}

type rotations struct {
	kedgev1.UnimplementedRotationServer
	c RotationConfig
}

// Bounds of what is asked.
const (
	maxReason      = 1024
	defaultHistory = 20
	maxHistory     = 1000
)

// act is the operator's act. A reason is part of it, and needed where it says so.
func act(ctx context.Context, action, reason string, needed bool) (rotationapi.Act, error) {
	who, err := actor(ctx)
	if err != nil {
		return rotationapi.Act{}, err
	}
	switch {
	case needed && reason == "":
		return rotationapi.Act{}, ca.Refuse(ca.ReasonRequest, "a reason is needed")
	case len(reason) > maxReason:
		return rotationapi.Act{}, ca.Refuse(ca.ReasonRequest, "reason of %d bytes, limit %d", len(reason), maxReason)
	}
	a := rotationapi.Act{Actor: who, Action: action, Detail: map[string]string{}}
	if reason != "" {
		a.Detail["because"] = reason
	}
	return a, nil
}

// operator is an act of which the actor has to be an operator.
func (s *rotations) operator(ctx context.Context, action, reason string, needed bool) (rotationapi.Act, error) {
	a, err := act(ctx, action, reason, needed)
	if err == nil && !s.c.MayOperate(a.Actor) {
		err = ca.Refuse(ca.ReasonPolicy, "%s is not in rotation.operators", a.Actor)
	}
	return a, err
}

func (s *rotations) Status(ctx context.Context, _ *kedgev1.RotationStatusRequest) (*kedgev1.RotationStatus, error) {
	v, err := s.c.Rotations.View(ctx)
	if err != nil {
		return nil, err
	}
	return rotationapi.Status(v, s.c.Now()), nil
}

func (s *rotations) Plan(ctx context.Context, r *kedgev1.StartRotationRequest) (*kedgev1.RotationPreview, error) {
	o, err := s.order(ctx, r)
	if err != nil {
		return nil, err
	}
	v, preview, err := s.c.Rotations.Propose(ctx, o)
	if err != nil {
		return nil, err
	}
	return rotationapi.Preview(v, preview, s.c.Now()), nil
}

func (s *rotations) Start(ctx context.Context, r *kedgev1.StartRotationRequest) (*kedgev1.RotationStatus, error) {
	if _, err := s.operator(ctx, "rotation.start", r.GetReason(), false); err != nil {
		return nil, err
	}
	o, err := s.order(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := s.c.Rotations.Start(ctx, o); err != nil {
		return nil, err
	}
	return s.Status(ctx, nil)
}

// order is a request with its words made values.
func (s *rotations) order(ctx context.Context, r *kedgev1.StartRotationRequest) (rotationapi.Order, error) {
	a, err := act(ctx, "rotation.start", r.GetReason(), false)
	if err != nil {
		return rotationapi.Order{}, err
	}
	o := rotationapi.Order{First: rotation.Zone(r.GetFirstZone()), Actor: a.Actor, Reason: r.GetReason(), Dwell: r.GetDwell().AsDuration()}
	if o.Mode, err = parseMode(r.GetMode()); err != nil {
		return o, err
	}
	if o.Window, err = rotation.ParseWindow(r.GetWindow()); err != nil {
		return o, &ca.Error{Reason: ca.ReasonRequest, Err: err}
	}
	if d := r.GetDwell(); d != nil && (!d.IsValid() || o.Dwell < 0) {
		return o, ca.Refuse(ca.ReasonRequest, "dwell of %s", o.Dwell)
	}
	o.New, err = s.anchor(ctx, r.GetNewAnchor())
	return o, err
}

// parseMode reads a mode; "" is as configured.
func parseMode(text string) (rotation.Mode, error) {
	switch mode := rotation.Mode(text); mode {
	case "", rotation.ModeManual, rotation.ModeAuto:
		return mode, nil
	}
	return "", ca.Refuse(ca.ReasonRequest, "mode %q is neither %s nor %s", text, rotation.ModeManual, rotation.ModeAuto)
}

// minPrefix is the shortest beginning of an id that is looked up.
const minPrefix = 8

// anchor finds the anchor of the bundle whose id begins with text; "" is none, and a
// whole id may name one that is in no bundle yet.
func (s *rotations) anchor(ctx context.Context, text string) (ca.AnchorID, error) {
	if text == "" {
		return ca.AnchorID{}, nil
	}
	if id, err := ca.ParseAnchorID(text); err == nil {
		return id, nil
	}
	v, err := s.c.Rotations.View(ctx)
	if err != nil {
		return ca.AnchorID{}, err
	}
	var found []ca.AnchorID
	for _, a := range v.Bundle.Anchors() {
		if id := ca.AnchorIDOf(a.Certificate); len(text) >= minPrefix && len(text) < 64 && id.String()[:len(text)] == text {
			found = append(found, id)
		}
	}
	if len(found) != 1 {
		return ca.AnchorID{}, ca.Refuse(ca.ReasonRequest, "%d anchors of the bundle begin with %q; give %d hex digits or more, and all 64 for one that is in no bundle", len(found), text, minPrefix)
	}
	return found[0], nil
}

func (s *rotations) History(ctx context.Context, r *kedgev1.RotationHistoryRequest) (*kedgev1.RotationHistoryResponse, error) {
	plans, err := s.c.Rotations.History(ctx)
	if err != nil {
		return nil, err
	}
	limit := int(min(r.GetLimit(), maxHistory))
	if limit == 0 {
		limit = defaultHistory
	}
	answer := &kedgev1.RotationHistoryResponse{}
	for _, p := range plans[:min(limit, len(plans))] {
		answer.Plans = append(answer.Plans, rotationapi.EncodePlan(p))
	}
	return answer, nil
}

func (s *rotations) Reconstruct(ctx context.Context, r *kedgev1.ReconstructRequest) (*kedgev1.ReconstructResponse, error) {
	var mending *rotationapi.Mending
	if r.GetApply() {
		a, err := s.operator(ctx, "rotation.reconstruct", r.GetReason(), true)
		if err != nil {
			return nil, err
		}
		mending = &rotationapi.Mending{Bundles: r.GetBundles(), Act: a}
	}
	found, err := s.c.Rotations.Reconstruct(ctx, mending)
	if err != nil {
		return nil, err
	}
	return &kedgev1.ReconstructResponse{
		JournalPhase: string(found.Journal), DerivedPhase: string(found.Derived), Findings: found.Findings,
		Agrees: found.Agrees, Applied: found.Applied, Actions: found.Actions,
	}, nil
}
