package rotationapi

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// Plans are what Approvals needs of the primary.
//
// Change stores what change makes of the plan under way, by compare-and-swap, after an
// event with the act was recorded; change may be called more than once.
type Plans interface {
	View(ctx context.Context) (View, error)
	Change(ctx context.Context, act Act, change func(rotation.Plan, time.Time) (rotation.Plan, error)) error
}

// ApprovalsConfig is what Approvals is made of; all fields are needed.
type ApprovalsConfig struct {
	Plans Plans
	// Caller is who the client certificate of the call proves, and an *ca.Error where it
	// proves nobody.
	Caller func(ctx context.Context) (ca.Caller, error)
	// IsOperator tells whether an actor may agree to rotations: "spiffe://…".
	IsOperator func(actor string) bool
}

// RegisterApprovals serves kedge.v1.Approvals on r.
func RegisterApprovals(r grpc.ServiceRegistrar, c ApprovalsConfig) error {
	if c.Plans == nil || c.Caller == nil || c.IsOperator == nil {
		return fmt.Errorf("approvals need plans, a caller and operators")
	}
	kedgev1.RegisterApprovalsServer(r, &approvals{c: c})
	return nil
}

type approvals struct {
	kedgev1.UnimplementedApprovalsServer
	c ApprovalsConfig
}

// maxReason bounds what goes into the journal and the events.
const maxReason = 1024

func (s *approvals) ApproveRotation(ctx context.Context, r *kedgev1.ApproveRotationRequest) (*kedgev1.ApproveRotationResponse, error) {
	caller, err := s.c.Caller(ctx)
	if err != nil {
		return nil, err
	}
	actor := caller.Identity().String()
	if !s.c.IsOperator(actor) {
		return nil, ca.Refuse(ca.ReasonPolicy, "%s is not in rotation.operators", actor)
	}
	if len(r.GetReason()) > maxReason {
		return nil, ca.Refuse(ca.ReasonRequest, "reason of %d bytes, limit %d", len(r.GetReason()), maxReason)
	}
	view, err := s.c.Plans.View(ctx)
	if err != nil {
		return nil, err
	}
	if err := IsMeant(view.Plan, r.GetPlan()); err != nil {
		return nil, err
	}
	if !r.GetDryRun() {
		act := Act{Actor: actor, Action: "rotation.approve", Detail: map[string]string{"because": r.GetReason(), "peer": caller.Evidence().Peer}}
		err := s.c.Plans.Change(ctx, act, func(p rotation.Plan, now time.Time) (rotation.Plan, error) {
			if err := IsMeant(p, r.GetPlan()); err != nil {
				return p, err
			}
			return p.Approve(actor, now)
		})
		if err != nil {
			return nil, err
		}
		if view, err = s.c.Plans.View(ctx); err != nil {
			return nil, err
		}
	}
	return &kedgev1.ApproveRotationResponse{
		TrustDomain: view.Bundle.TrustDomain().String(), Plan: EncodePlan(view.Plan), Diff: Diff(view), Actor: actor,
	}, nil
}

// IsMeant refuses an act that was meant for another plan than the one under way.
func IsMeant(p rotation.Plan, id string) error {
	switch {
	case id == "":
		return ca.Refuse(ca.ReasonRequest, "the id of the rotation is missing")
	case p.ID == "" || p.IsOver():
		return ca.Refuse(ca.ReasonNotFound, "no rotation is under way")
	case p.ID != id:
		return ca.Refuse(ca.ReasonStale, "rotation %s is under way, not %s", p.ID, id)
	}
	return nil
}
