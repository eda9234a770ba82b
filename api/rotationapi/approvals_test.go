package rotationapi_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/api/rotationapi/rotationapitest"
	"github.com/kedge-ca/kedge/ca"
)

// newApprovals serves the primary's approvals on a real TLS port, where the workload
// "operator" is one.
func newApprovals(t *testing.T, p *rotationapitest.Primary) *apitest.Server {
	t.Helper()
	var s *apitest.Server
	s = apitest.New(t, apitest.Options{Register: func(r grpc.ServiceRegistrar) {
		require.NoError(t, rotationapi.RegisterApprovals(r, rotationapi.ApprovalsConfig{
			Plans:      p,
			Caller:     func(ctx context.Context) (ca.Caller, error) { return s.Front.Caller(ctx) },
			IsOperator: func(actor string) bool { return actor == s.Identity("operator") },
		}))
	}})
	return s
}

func TestOperatorAgreesByCertificate(t *testing.T) {
	p := rotationapitest.New(t)
	require.NoError(t, p.Start(t.Context(), rotationapi.Order{Actor: "uid:0"}))
	s := newApprovals(t, p)
	c := kedgev1.NewApprovalsClient(s.Dial(t, s.Certificate(t, "operator")))

	shown, err := c.ApproveRotation(t.Context(), &kedgev1.ApproveRotationRequest{Plan: p.Plan().ID, DryRun: true})
	require.NoError(t, err)
	require.Equal(t, s.Identity("operator"), shown.GetActor())
	require.Len(t, shown.GetDiff(), 2)
	require.Len(t, p.Plan().Approvals, 1, "it was only shown")

	done, err := c.ApproveRotation(t.Context(), &kedgev1.ApproveRotationRequest{Plan: p.Plan().ID, Reason: "read it"})
	require.NoError(t, err)
	require.Len(t, done.GetPlan().GetApprovals(), 2)
	act := p.Acts()[1]
	require.Equal(t, "rotation.approve", act.Action)
	require.Equal(t, s.Identity("operator"), act.Actor)
	require.Equal(t, "read it", act.Detail["because"])
	require.NotEmpty(t, act.Detail["peer"])
}

// TestApprovalIsRefused has a row for each refusal; none of them changes the plan.
func TestApprovalIsRefused(t *testing.T) {
	rows := []struct {
		name    string
		who     string // "" sends no certificate
		request *kedgev1.ApproveRotationRequest
		before  func(p *rotationapitest.Primary)
		reason  ca.Reason
		code    codes.Code
	}{
		{"without a certificate", "", &kedgev1.ApproveRotationRequest{Plan: "20261124-1"}, nil, ca.ReasonNoCredentials, codes.Unauthenticated},
		{"of a workload", "a", &kedgev1.ApproveRotationRequest{Plan: "20261124-1"}, nil, ca.ReasonPolicy, codes.PermissionDenied},
		{"of a workload that only looks", "a", &kedgev1.ApproveRotationRequest{Plan: "20261124-1", DryRun: true}, nil, ca.ReasonPolicy, codes.PermissionDenied},
		{"for another rotation", "operator", &kedgev1.ApproveRotationRequest{Plan: "20251124-1"}, nil, ca.ReasonStale, codes.Aborted},
		{"for whichever rotation", "operator", &kedgev1.ApproveRotationRequest{}, nil, ca.ReasonRequest, codes.InvalidArgument},
		{"with a novel", "operator", &kedgev1.ApproveRotationRequest{Plan: "20261124-1", Reason: strings.Repeat("x", 1025)}, nil, ca.ReasonRequest, codes.InvalidArgument},
		{"that cannot be recorded", "operator", &kedgev1.ApproveRotationRequest{Plan: "20261124-1"}, (*rotationapitest.Primary).Fail, ca.ReasonRecordFailed, codes.Unavailable},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := rotationapitest.New(t)
			require.NoError(t, p.Start(t.Context(), rotationapi.Order{Actor: "uid:0"}))
			if row.before != nil {
				row.before(p)
			}
			before := p.Plan()
			s := newApprovals(t, p)
			conn := s.Dial(t, nil)
			if row.who != "" {
				conn = s.Dial(t, s.Certificate(t, row.who))
			}
			_, err := kedgev1.NewApprovalsClient(conn).ApproveRotation(t.Context(), row.request)
			require.Equal(t, row.code, apitest.RequireRefused(t, row.reason, err).Code)
			require.Equal(t, before, p.Plan())
		})
	}
}

func TestApprovingTwiceCountsOnce(t *testing.T) {
	p := rotationapitest.New(t)
	require.NoError(t, p.Start(t.Context(), rotationapi.Order{Actor: "uid:0"}))
	s := newApprovals(t, p)
	c := kedgev1.NewApprovalsClient(s.Dial(t, s.Certificate(t, "operator")))
	_, err := c.ApproveRotation(t.Context(), &kedgev1.ApproveRotationRequest{Plan: p.Plan().ID})
	require.NoError(t, err)
	_, err = c.ApproveRotation(t.Context(), &kedgev1.ApproveRotationRequest{Plan: p.Plan().ID})
	apitest.RequireRefused(t, ca.ReasonStale, err)
	require.Len(t, p.Plan().Approvals, 2)
}

func TestApprovalsNeedAllTheirParts(t *testing.T) {
	require.Error(t, rotationapi.RegisterApprovals(grpc.NewServer(), rotationapi.ApprovalsConfig{}))
}
