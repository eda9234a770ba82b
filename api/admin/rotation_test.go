package admin_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedge-ca/kedge/api/admin"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/api/rotationapi/rotationapitest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// rotationWorld is a primary behind a real socket, and a client of it.
type rotationWorld struct {
	*rotationapitest.Primary
	client kedgev1.RotationClient
}

func rotationConfig(p *rotationapitest.Primary) admin.RotationConfig {
	return admin.RotationConfig{
		Rotations: p, MayOperate: func(actor string) bool { return actor == uid() }, Now: p.Now,
		Rate: func(context.Context) rotationapi.Rate { return rotationapi.Rate{PerSecond: 1000, Source: "a test"} },
		Poll: time.Millisecond, Patience: 50 * time.Millisecond,
	}
}

func newRotationWorld(t *testing.T, change func(c *admin.RotationConfig)) *rotationWorld {
	t.Helper()
	w := &rotationWorld{Primary: rotationapitest.New(t)}
	c := rotationConfig(w.Primary)
	if change != nil {
		change(&c)
	}
	server := grpc.NewServer(grpc.Creds(admin.Credentials()), grpc.UnaryInterceptor(admin.UnaryInterceptor(discard())), grpc.StreamInterceptor(admin.StreamInterceptor(discard())))
	require.NoError(t, admin.RegisterRotation(server, c))
	path := socketPath(t)
	l, err := admin.Listen(path)
	require.NoError(t, err)
	serve(t, server, l)
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(admin.Credentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	w.client = kedgev1.NewRotationClient(conn)
	return w
}

// start begins a rotation to the standby.
func (w *rotationWorld) start(t *testing.T) string {
	t.Helper()
	s, err := w.client.Start(t.Context(), &kedgev1.StartRotationRequest{Reason: "yearly"})
	require.NoError(t, err)
	return s.GetPlan().GetId()
}

// TestEveryActIsTheOperatorsAndRecorded: each call that changes something leaves one
// event with the user of the socket, what was done and why.
func TestEveryActIsTheOperatorsAndRecorded(t *testing.T) {
	ctx := t.Context()
	rows := []struct {
		action string
		call   func(c kedgev1.RotationClient, plan string) error
		detail map[string]string
		holds  func(p rotation.Plan) bool
	}{
		{"rotation.advance", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Advance(ctx, &kedgev1.AdvanceRotationRequest{Plan: plan, Phase: "staged"})
			return err
		}, map[string]string{}, func(p rotation.Plan) bool { return p.Advanced == rotation.Staged }},
		{"rotation.pause", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Pause(ctx, &kedgev1.ChangeRotationRequest{Plan: plan, Reason: "freeze"})
			return err
		}, map[string]string{"because": "freeze"}, func(p rotation.Plan) bool { return p.Paused }},
		{"rotation.resume", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Resume(ctx, &kedgev1.ChangeRotationRequest{Plan: plan})
			return err
		}, map[string]string{}, func(p rotation.Plan) bool { return !p.Paused }},
		{"rotation.mode", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.SetMode(ctx, &kedgev1.SetRotationModeRequest{Plan: plan, Mode: "auto"})
			return err
		}, map[string]string{"mode": "auto"}, func(p rotation.Plan) bool { return p.Mode == rotation.ModeAuto }},
		{"rotation.abort", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Abort(ctx, &kedgev1.ChangeRotationRequest{Plan: plan, Reason: "bad canary"})
			return err
		}, map[string]string{"because": "bad canary"}, func(p rotation.Plan) bool { return p.Phase == rotation.Aborted }},
		{"rotation.exclude", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.ExcludeZone(ctx, &kedgev1.RotationZoneRequest{Plan: plan, Zone: "eu-2", Reason: "down"})
			return err
		}, map[string]string{"because": "down", "zone": "eu-2"}, func(p rotation.Plan) bool { return p.Zones[1].Excluded == "down" && !p.Zones[1].Lease.IsZero() }},
		{"rotation.include", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.IncludeZone(ctx, &kedgev1.RotationZoneRequest{Plan: plan, Zone: "eu-2"})
			return err
		}, map[string]string{"zone": "eu-2"}, func(p rotation.Plan) bool { return p.Zones[1].Excluded == "" }},
		{"rotation.confirm", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Confirm(ctx, &kedgev1.ConfirmRotationRequest{Plan: plan, Zone: "eu-2", Class: "restart", Reason: "restarted"})
			return err
		}, map[string]string{"because": "restarted", "zone": "eu-2", "class": "restart"}, func(p rotation.Plan) bool { return len(p.Confirmed) == 1 && p.Confirmed[0].Actor == uid() }},
		{"rotation.emergency", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Emergency(ctx, &kedgev1.EmergencyRequest{Plan: plan, DistrustNow: true, Reason: "stolen"})
			return err
		}, map[string]string{"because": "stolen"}, func(p rotation.Plan) bool { return p.Emergency != nil && p.Emergency.Distrust }},
		{"rotation.reconstruct", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Reconstruct(ctx, &kedgev1.ReconstructRequest{Apply: true, Reason: "restored"})
			return err
		}, map[string]string{"because": "restored"}, func(rotation.Plan) bool { return true }},
		{"halt", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Halt(ctx, &kedgev1.HaltRequest{Reason: "stolen"})
			return err
		}, map[string]string{"because": "stolen"}, func(rotation.Plan) bool { return true }},
		{"resume", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.ResumeIssuance(ctx, &kedgev1.ResumeIssuanceRequest{Reason: "over"})
			return err
		}, map[string]string{"because": "over"}, func(rotation.Plan) bool { return true }},
	}
	for _, row := range rows {
		t.Run(row.action, func(t *testing.T) {
			w := newRotationWorld(t, nil)
			plan := w.start(t)
			require.NoError(t, row.call(w.client, plan))
			acts := w.Acts()
			require.Equal(t, []rotationapi.Act{{Actor: uid(), Action: row.action, Detail: row.detail}}, acts[1:])
			require.True(t, row.holds(w.Plan()), "%+v", w.Plan())

			failing := newRotationWorld(t, nil)
			plan = failing.start(t)
			before := failing.Plan()
			failing.Fail()
			apitest.RequireRefused(t, ca.ReasonRecordFailed, row.call(failing.client, plan))
			require.Equal(t, before, failing.Plan(), "what cannot be recorded is not done")
		})
	}
}

// TestActIsForThePlanThatItNames: one that has moved on is not acted on.
func TestActIsForThePlanThatItNames(t *testing.T) {
	ctx := t.Context()
	calls := map[string]func(c kedgev1.RotationClient, plan string) error{
		"advance": func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Advance(ctx, &kedgev1.AdvanceRotationRequest{Plan: plan, Phase: "staged"})
			return err
		},
		"pause": func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Pause(ctx, &kedgev1.ChangeRotationRequest{Plan: plan})
			return err
		},
		"abort": func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Abort(ctx, &kedgev1.ChangeRotationRequest{Plan: plan, Reason: "x"})
			return err
		},
		"approve": func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Approve(ctx, &kedgev1.ChangeRotationRequest{Plan: plan})
			return err
		},
		"exclude": func(c kedgev1.RotationClient, plan string) error {
			_, err := c.ExcludeZone(ctx, &kedgev1.RotationZoneRequest{Plan: plan, Zone: "eu-2", Reason: "x"})
			return err
		},
		"confirm": func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Confirm(ctx, &kedgev1.ConfirmRotationRequest{Plan: plan, Zone: "eu-2", Class: "restart", Reason: "x"})
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			w := newRotationWorld(t, nil)
			apitest.RequireRefused(t, ca.ReasonNotFound, call(w.client, "20261124-1"))
			w.start(t)
			before := w.Plan()
			apitest.RequireRefused(t, ca.ReasonStale, call(w.client, "20251124-1"))
			apitest.RequireRefused(t, ca.ReasonRequest, call(w.client, ""))
			require.Equal(t, before, w.Plan())
		})
	}
}

// TestActIsRefused has a row for each refusal that a plan does not make.
func TestActIsRefused(t *testing.T) {
	ctx := t.Context()
	long := strings.Repeat("x", 1025)
	rows := []struct {
		name   string
		call   func(c kedgev1.RotationClient, plan string) error
		reason ca.Reason
	}{
		{"a phase that is over is not advanced", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Advance(ctx, &kedgev1.AdvanceRotationRequest{Plan: plan, Phase: "draining"})
			return err
		}, ca.ReasonStale},
		{"an abort without a reason", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Abort(ctx, &kedgev1.ChangeRotationRequest{Plan: plan})
			return err
		}, ca.ReasonRequest},
		{"an abort with a novel", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Abort(ctx, &kedgev1.ChangeRotationRequest{Plan: plan, Reason: long})
			return err
		}, ca.ReasonRequest},
		{"a zone that takes no part", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.ExcludeZone(ctx, &kedgev1.RotationZoneRequest{Plan: plan, Zone: "mars", Reason: "x"})
			return err
		}, ca.ReasonRequest},
		{"a zone that takes no part comes back", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.IncludeZone(ctx, &kedgev1.RotationZoneRequest{Plan: plan, Zone: "mars"})
			return err
		}, ca.ReasonRequest},
		{"a class that is seen", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Confirm(ctx, &kedgev1.ConfirmRotationRequest{Plan: plan, Zone: "eu-2", Class: "renewal", Reason: "x"})
			return err
		}, ca.ReasonStale},
		{"an unknown mode", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.SetMode(ctx, &kedgev1.SetRotationModeRequest{Plan: plan, Mode: "fast"})
			return err
		}, ca.ReasonRequest},
		{"an approval by the one who has started it", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Approve(ctx, &kedgev1.ChangeRotationRequest{Plan: plan})
			return err
		}, ca.ReasonStale},
		{"a second start", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Start(ctx, &kedgev1.StartRotationRequest{})
			return err
		}, ca.ReasonStale},
		{"a window that is none", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Plan(ctx, &kedgev1.StartRotationRequest{Window: "at night"})
			return err
		}, ca.ReasonRequest},
		{"a negative dwell", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Plan(ctx, &kedgev1.StartRotationRequest{Dwell: durationpb.New(-time.Hour)})
			return err
		}, ca.ReasonRequest},
		{"an anchor that nobody has", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Plan(ctx, &kedgev1.StartRotationRequest{NewAnchor: "0000000000"})
			return err
		}, ca.ReasonRequest},
		{"a beginning that is too short", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Plan(ctx, &kedgev1.StartRotationRequest{NewAnchor: "0"})
			return err
		}, ca.ReasonRequest},
		{"an emergency without a reason", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Emergency(ctx, &kedgev1.EmergencyRequest{Plan: plan, DryRun: true})
			return err
		}, ca.ReasonRequest},
		{"an emergency with a deadline that is over", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Emergency(ctx, &kedgev1.EmergencyRequest{Plan: plan, Reason: "x", Deadline: timestamppb.New(time.Unix(0, 0))})
			return err
		}, ca.ReasonRequest},
		{"an emergency to a third anchor", func(c kedgev1.RotationClient, plan string) error {
			_, err := c.Emergency(ctx, &kedgev1.EmergencyRequest{Plan: plan, Reason: "x", NewAnchor: strings.Repeat("ab", 32)})
			return err
		}, ca.ReasonStale},
		{"an emergency besides the plan under way", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Emergency(ctx, &kedgev1.EmergencyRequest{Reason: "x"})
			return err
		}, ca.ReasonStale},
		{"a reconstruction without a reason", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Reconstruct(ctx, &kedgev1.ReconstructRequest{Apply: true})
			return err
		}, ca.ReasonRequest},
		{"a halt without a reason", func(c kedgev1.RotationClient, _ string) error {
			_, err := c.Halt(ctx, &kedgev1.HaltRequest{})
			return err
		}, ca.ReasonRequest},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newRotationWorld(t, nil)
			plan := w.start(t)
			before, acts := w.Plan(), len(w.Acts())
			apitest.RequireRefused(t, row.reason, row.call(w.client, plan))
			require.Equal(t, before, w.Plan())
			require.Len(t, w.Acts(), acts)
		})
	}
}

// TestOnlyOperatorsStartAgreeAndDecide: whoever may use the socket may look, stop and
// turn round.
func TestOnlyOperatorsStartAgreeAndDecide(t *testing.T) {
	w := newRotationWorld(t, func(c *admin.RotationConfig) { c.MayOperate = func(string) bool { return false } })
	_, err := w.client.Start(t.Context(), &kedgev1.StartRotationRequest{})
	apitest.RequireRefused(t, ca.ReasonPolicy, err)
	_, err = w.client.Plan(t.Context(), &kedgev1.StartRotationRequest{})
	require.NoError(t, err)
	require.NoError(t, w.Primary.Start(t.Context(), rotationapi.Order{Actor: "uid:99"}))
	plan := w.Plan().ID
	_, err = w.client.Approve(t.Context(), &kedgev1.ChangeRotationRequest{Plan: plan})
	apitest.RequireRefused(t, ca.ReasonPolicy, err)
	_, err = w.client.Emergency(t.Context(), &kedgev1.EmergencyRequest{Plan: plan, Reason: "x"})
	apitest.RequireRefused(t, ca.ReasonPolicy, err)
	_, err = w.client.Reconstruct(t.Context(), &kedgev1.ReconstructRequest{Apply: true, Reason: "x"})
	apitest.RequireRefused(t, ca.ReasonPolicy, err)
	_, err = w.client.Pause(t.Context(), &kedgev1.ChangeRotationRequest{Plan: plan})
	require.NoError(t, err)
	_, err = w.client.Abort(t.Context(), &kedgev1.ChangeRotationRequest{Plan: plan, Reason: "x"})
	require.NoError(t, err)
}

func TestAnchorIsFoundByTheBeginningOfItsID(t *testing.T) {
	w := newRotationWorld(t, nil)
	for _, text := range []string{"", w.New.String(), w.New.String()[:8]} {
		p, err := w.client.Plan(t.Context(), &kedgev1.StartRotationRequest{NewAnchor: text})
		require.NoError(t, err, text)
		require.Equal(t, w.New.String(), p.GetPlan().GetNewAnchor())
	}
}

// TestPlanIsStartedAsItWasShown: mode, window, dwell and first zone reach the plan.
func TestPlanIsStartedAsItWasShown(t *testing.T) {
	w := newRotationWorld(t, nil)
	request := &kedgev1.StartRotationRequest{Mode: "auto", Window: "Mon,Tue 09:00-16:00", Dwell: durationpb.New(time.Hour), FirstZone: "eu-2", Reason: "yearly"}
	shown, err := w.client.Plan(t.Context(), request)
	require.NoError(t, err)
	require.Empty(t, w.Acts(), "nothing was done")
	for _, b := range shown.GetBlockers() {
		require.NotContains(t, []string{"advance", "approval"}, b.GetCode(), "nobody was asked yet")
	}
	s, err := w.client.Start(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, shown.GetPlan().GetWindow(), s.GetPlan().GetWindow())
	p := w.Plan()
	require.Equal(t, rotation.ModeAuto, p.Mode)
	require.Equal(t, "Mon,Tue 09:00-16:00", p.Window.String())
	require.Equal(t, time.Hour, p.Dwell)
	require.Equal(t, rotation.Zone("eu-2"), p.Zones[0].Name)
	require.Equal(t, uid(), p.Actor)
	require.Equal(t, "yearly", p.Reason)
	h, err := w.client.History(t.Context(), &kedgev1.RotationHistoryRequest{})
	require.NoError(t, err)
	require.Equal(t, p.ID, h.GetPlans()[0].GetId())
}

func TestEmergencyCountsBeforeItActs(t *testing.T) {
	w := newRotationWorld(t, nil)
	cost, err := w.client.Emergency(t.Context(), &kedgev1.EmergencyRequest{DistrustNow: true, Reason: "stolen", DryRun: true})
	require.NoError(t, err)
	require.EqualValues(t, 2*9880, cost.GetCost().GetFailing())
	require.Equal(t, 10*time.Second, cost.GetCost().GetReissue().AsDuration())
	require.Len(t, cost.GetDiff(), 2)
	require.Nil(t, cost.GetStatus())
	require.Empty(t, w.Acts())

	done, err := w.client.Emergency(t.Context(), &kedgev1.EmergencyRequest{DistrustNow: true, Reason: "stolen"})
	require.NoError(t, err)
	require.True(t, done.GetStatus().GetPlan().GetEmergency().GetDistrustNow())
	require.Equal(t, "stolen", w.Plan().Emergency.Reason)

	// The other way round: the new key is the one that is lost.
	plan := w.Plan().ID
	back, err := w.client.Emergency(t.Context(), &kedgev1.EmergencyRequest{Plan: plan, NewAnchor: w.Old.String(), Reason: "it is the other"})
	require.NoError(t, err)
	require.Zero(t, back.GetCost().GetFailing(), "nobody has signed under it")
	require.Equal(t, w.New, w.Plan().Emergency.Anchor)
}
