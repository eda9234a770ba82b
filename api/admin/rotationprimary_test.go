package admin_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/kedge-ca/kedge/api/admin"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
	"github.com/kedge-ca/kedge/rotation/rotationtest"
)

// operatedWorld is a primary with zones whose certificates are real, and an operator at
// its socket.
func operatedWorld(t *testing.T, c rotationtest.Config) (*rotationtest.World, kedgev1.RotationClient) {
	t.Helper()
	w := rotationtest.New(t, c)
	over, err := rotationapi.NewPrimary(func() (*primary.Primary, error) { return w.Primary(), nil },
		func(context.Context, ca.AnchorID) (ca.Root, error) {
			return nil, ca.Refuse(ca.ReasonRootMissing, "no root")
		})
	require.NoError(t, err)
	server := grpc.NewServer(grpc.Creds(admin.Credentials()), grpc.UnaryInterceptor(admin.UnaryInterceptor(discard())))
	require.NoError(t, admin.RegisterRotation(server, admin.RotationConfig{
		Rotations: over, MayOperate: func(string) bool { return true }, Now: w.Clock.Now, Poll: time.Millisecond, Patience: 10 * time.Millisecond,
		Rate: func(context.Context) rotationapi.Rate { return rotationapi.Rate{} },
	}))
	path := socketPath(t)
	l, err := admin.Listen(path)
	require.NoError(t, err)
	serve(t, server, l)
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(admin.Credentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return w, kedgev1.NewRotationClient(conn)
}

// status asks until the plan is in a phase; in manual mode it advances where the plan
// waits for that alone.
func drive(t *testing.T, w *rotationtest.World, c kedgev1.RotationClient, phase rotation.Phase) *kedgev1.RotationStatus {
	t.Helper()
	for range 200 {
		s, err := c.Status(t.Context(), &kedgev1.RotationStatusRequest{})
		require.NoError(t, err)
		if s.GetPlan().GetPhase() == string(phase) {
			return s
		}
		if b := s.GetBlockers(); len(b) == 1 && b[0].GetCode() == "advance" {
			_, err := c.Advance(t.Context(), &kedgev1.AdvanceRotationRequest{Plan: s.GetPlan().GetId(), Phase: s.GetPlan().GetPhase()})
			require.NoError(t, err)
		}
		w.Step()
	}
	require.FailNow(t, "the rotation is stuck", w.Describe())
	return nil
}

// TestOperatorTakesARotationToItsEnd: with nothing but the socket, in manual mode, over
// zones with real certificates, each live leaf of which verifies after every event.
func TestOperatorTakesARotationToItsEnd(t *testing.T) {
	w, c := operatedWorld(t, rotationtest.Config{Zones: 2, Settings: primary.Settings{Mode: rotation.ModeManual}})
	next := w.NewRoot()
	require.NoError(t, w.Primary().AddStandby(t.Context(), next, "uid:0"))
	w.Step()
	shown, err := c.Plan(t.Context(), &kedgev1.StartRotationRequest{})
	require.NoError(t, err)
	require.Equal(t, next.String(), shown.GetPlan().GetNewAnchor())
	require.True(t, shown.GetPlan().GetStandby())
	require.Len(t, shown.GetDiff(), 2)
	s, err := c.Start(t.Context(), &kedgev1.StartRotationRequest{NewAnchor: next.String(), FirstZone: "zone-1", Reason: "yearly"})
	require.NoError(t, err)
	require.Equal(t, "staged", s.GetPlan().GetPhase())
	require.Equal(t, "zone-1", s.GetZones()[0].GetName())
	drive(t, w, c, rotation.Draining)
	s = drive(t, w, c, rotation.Done)
	require.Len(t, s.GetAnchors(), 1)
	require.Equal(t, next.String(), s.GetAnchors()[0].GetId())
	for _, z := range s.GetZones() {
		require.Equal(t, next.String(), z.GetSigner(), z.GetName())
	}
	h, err := c.History(t.Context(), &kedgev1.RotationHistoryRequest{})
	require.NoError(t, err)
	require.Equal(t, "done", h.GetPlans()[0].GetPhase())
	r, err := c.Reconstruct(t.Context(), &kedgev1.ReconstructRequest{})
	require.NoError(t, err)
	require.True(t, r.GetAgrees(), "%v", r.GetFindings())
	require.Contains(t, w.Events.Actions(), "rotation.advance")
}

// TestOperatorSeesWhoBlocksAndTurnsBack: a zone that is cut off is named, and an abort
// ends with the anchor that signed before.
func TestOperatorSeesWhoBlocksAndTurnsBack(t *testing.T) {
	w, c := operatedWorld(t, rotationtest.Config{Zones: 2})
	next := w.NewRoot()
	s, err := c.Start(t.Context(), &kedgev1.StartRotationRequest{NewAnchor: next.String()})
	require.NoError(t, err)
	old := s.GetPlan().GetOldAnchor()
	drive(t, w, c, rotation.Draining)
	for _, p := range w.Zones["zone-1"] {
		p.Link.Cut = true
	}
	for range 8 {
		w.Step()
	}
	s, err = c.Status(t.Context(), &kedgev1.RotationStatusRequest{})
	require.NoError(t, err)
	var silent []string
	for _, b := range s.GetBlockers() {
		if b.GetCode() == "silent" {
			silent = append(silent, b.GetZone())
		}
	}
	require.Contains(t, silent, "zone-1")
	_, err = c.Abort(t.Context(), &kedgev1.ChangeRotationRequest{Plan: s.GetPlan().GetId(), Reason: "a zone is away"})
	require.NoError(t, err)
	for _, p := range w.Zones["zone-1"] {
		p.Link.Cut = false
	}
	s = drive(t, w, c, rotation.Aborted)
	require.Len(t, s.GetAnchors(), 1)
	require.Equal(t, old, s.GetAnchors()[0].GetId())
}

// TestOperatorHalts: the replicas obey, and say so in their next report.
func TestOperatorHalts(t *testing.T) {
	w, c := operatedWorld(t, rotationtest.Config{Zones: 1, Workloads: -1})
	_, err := c.Halt(t.Context(), &kedgev1.HaltRequest{Reason: "stolen"})
	require.NoError(t, err)
	w.Step()
	w.Step()
	for _, p := range w.Zones["zone-0"] {
		require.Equal(t, ca.ReasonHalted, ca.ReasonOf(p.Authority.Ready(w.Clock.Now())))
	}
	s, err := c.Status(t.Context(), &kedgev1.RotationStatusRequest{})
	require.NoError(t, err)
	require.Equal(t, "stolen", s.GetHalted())
	require.Equal(t, "stolen", s.GetZones()[0].GetReplicas()[0].GetHalted())
	_, err = c.ResumeIssuance(t.Context(), &kedgev1.ResumeIssuanceRequest{})
	require.NoError(t, err)
	w.Step()
	w.Step()
	for _, p := range w.Zones["zone-0"] {
		require.NoError(t, p.Authority.Ready(w.Clock.Now()))
	}
}

// TestPrimaryThatIsNotOpenSaysSo: its bundle key may be in Vault, and Vault away.
func TestPrimaryThatIsNotOpenSaysSo(t *testing.T) {
	over, err := rotationapi.NewPrimary(func() (*primary.Primary, error) { return nil, ca.Refuse(ca.ReasonNotReady, "not open") },
		func(context.Context, ca.AnchorID) (ca.Root, error) {
			return nil, ca.Refuse(ca.ReasonRootMissing, "no root")
		})
	require.NoError(t, err)
	_, err = over.View(t.Context())
	require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(err))
	require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(over.Start(t.Context(), rotationapi.Order{})))
	require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(over.Halt(t.Context(), "x", rotationapi.Act{})))
	var _ admin.Rotations = over
	_, err = rotationapi.NewPrimary(nil, nil)
	require.Error(t, err)
}
