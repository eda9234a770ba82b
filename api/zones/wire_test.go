package zones_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/zones"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

func TestReportArrivesAsItWasSent(t *testing.T) {
	w := newWorld(t)
	_, c := w.joined(t, "a")
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	report := rotation.Report{
		Plan: "p", Epoch: 3, Signer: ca.AnchorID{1}, Sequence: 4, BundleHash: "aa", Lease: now.Add(time.Hour), Clock: now,
		Version: "v1", Halted: "why",
		Coverage: map[ca.VerifierClass]ca.Coverage{
			ca.ClassRenewal: {Sequence: 3, Live: 10, Behind: 2, Oldest: now.Add(time.Minute)}, ca.ClassPush: {Sequence: 4},
		},
		Live:      map[ca.AnchorID]int{{1}: 9, {2}: 1},
		HighWater: map[ca.AnchorID]time.Time{{1}: now.Add(2 * time.Hour), {2}: now},
		Canary:    map[ca.AnchorID]string{{2}: "", {3}: "no route"},
	}
	require.NoError(t, c.Report(within(t), report))
	report.Zone, report.Replica = "eu-1", "a" // by its key
	require.Equal(t, []rotation.Report{report}, w.reports)
}

func TestReportThatIsNoneIsRefused(t *testing.T) {
	for name, r := range map[string]*kedgev1.ReplicaReport{
		"half a signer":         {Signer: make([]byte, 16)},
		"an anchor of 33 bytes": {Leaves: []*kedgev1.AnchorLeaves{{Anchor: make([]byte, 33)}}},
		"half a canary":         {Canaries: []*kedgev1.Canary{{Anchor: make([]byte, 1)}}},
		"endless coverage":      {Coverage: make([]*kedgev1.Coverage, 65)},
	} {
		_, err := zones.ReportFromWire(r)
		require.Equal(t, ca.ReasonRequest, ca.ReasonOf(err), name)
	}
}
