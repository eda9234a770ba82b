package admin_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/kedge-ca/kedge/api/admin"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/api/rotationapi/rotationapitest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

func TestWatchSendsEachChangeUntilItIsOver(t *testing.T) {
	w := newRotationWorld(t, nil)
	w.start(t)
	phases := []rotation.Phase{rotation.Staged, rotation.Distributing, rotation.Distributing, rotation.Activating, rotation.Done}
	w.OnLook(func(looks int, v *rotationapi.View) { v.Plan.Phase = phases[min(max(looks-1, 0), len(phases)-1)] })
	stream, err := w.client.Watch(t.Context(), &kedgev1.RotationStatusRequest{})
	require.NoError(t, err)
	var got []string
	for {
		s, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		got = append(got, s.GetPlan().GetPhase())
	}
	require.Equal(t, []string{"staged", "distributing", "activating", "done"}, got)
}

func TestWatchWithoutARotationEndsAtOnce(t *testing.T) {
	w := newRotationWorld(t, nil)
	stream, err := w.client.Watch(t.Context(), &kedgev1.RotationStatusRequest{})
	require.NoError(t, err)
	s, err := stream.Recv()
	require.NoError(t, err)
	require.Nil(t, s.GetPlan())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

// TestHaltSaysWhoHasObeyed: a replica that does not report is named, and waited for no
// longer than patience lasts.
func TestHaltSaysWhoHasObeyed(t *testing.T) {
	w := newRotationWorld(t, nil)
	w.OnLook(func(_ int, v *rotationapi.View) { v.Reports[0].Halted = "stolen" })
	answer, err := w.client.Halt(t.Context(), &kedgev1.HaltRequest{Reason: "stolen"})
	require.NoError(t, err)
	require.Equal(t, "stolen", answer.GetHalted())
	require.True(t, answer.GetReplicas()[0].GetAcknowledged())
	require.False(t, answer.GetReplicas()[1].GetAcknowledged())

	w.OnLook(func(_ int, v *rotationapi.View) { v.Reports[0].Halted, v.Reports[1].Halted = "", "" })
	answer, err = w.client.ResumeIssuance(t.Context(), &kedgev1.ResumeIssuanceRequest{})
	require.NoError(t, err)
	require.Empty(t, answer.GetHalted())
	require.True(t, answer.GetReplicas()[1].GetAcknowledged())
}

// TestVerifyWantsReportsAfterTheCall: what a replica said before proves nothing now.
func TestVerifyWantsReportsAfterTheCall(t *testing.T) {
	w := newRotationWorld(t, nil)
	late := w.Now().Add(time.Second)
	w.OnLook(func(looks int, v *rotationapi.View) {
		if looks > 2 {
			v.Reports[0].Received = late
			v.Reports[0].Canary = map[ca.AnchorID]string{w.Old: "", w.New: "unknown authority"}
			if len(v.Reports) == 2 {
				third := v.Reports[0]
				third.Zone, third.Replica, third.Canary = "eu-3", "eu-3-a", nil
				v.Reports = append(v.Reports, third)
			}
		}
	})
	answer, err := w.client.Verify(t.Context(), &kedgev1.VerifyRotationRequest{})
	require.NoError(t, err)
	got := map[string]string{}
	for _, r := range answer.GetResults() {
		got[r.GetReplica()+" "+r.GetAnchor()] = r.GetDetail()
		require.Equal(t, r.GetDetail() == "", r.GetOk())
	}
	require.Equal(t, map[string]string{
		"eu-1-a " + w.Old.String(): "", "eu-1-a " + w.New.String(): "unknown authority", "eu-2-a ": "it has not reported since the call", "eu-3-a ": "it has made no handshake",
	}, got)
}

func TestRotationServiceNeedsAllItsParts(t *testing.T) {
	whole := rotationConfig(rotationapitest.New(t))
	for name, without := range map[string]func(c *admin.RotationConfig){
		"rotations": func(c *admin.RotationConfig) { c.Rotations = nil }, "rate": func(c *admin.RotationConfig) { c.Rate = nil },
		"operators": func(c *admin.RotationConfig) { c.MayOperate = nil }, "clock": func(c *admin.RotationConfig) { c.Now = nil },
		"poll": func(c *admin.RotationConfig) { c.Poll = 0 }, "patience": func(c *admin.RotationConfig) { c.Patience = 0 },
	} {
		c := whole
		without(&c)
		require.Error(t, admin.RegisterRotation(grpc.NewServer(), c), name)
	}
	require.NoError(t, admin.RegisterRotation(grpc.NewServer(), whole))
}
