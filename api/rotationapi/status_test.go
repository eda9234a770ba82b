package rotationapi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/api/rotationapi/rotationapitest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/rotation"
)

// started is the view of a primary whose plan has begun and was agreed to.
func started(t *testing.T, p *rotationapitest.Primary) rotationapi.View {
	t.Helper()
	require.NoError(t, p.Start(t.Context(), rotationapi.Order{Actor: "uid:0", Reason: "yearly"}))
	require.NoError(t, p.Change(t.Context(), rotationapi.Act{}, func(plan rotation.Plan, now time.Time) (rotation.Plan, error) {
		return plan.Approve("uid:1", now)
	}))
	v, err := p.View(t.Context())
	require.NoError(t, err)
	return v
}

func TestStatusWithoutAPlanHasBundleAndZones(t *testing.T) {
	p := rotationapitest.New(t)
	v, err := p.View(t.Context())
	require.NoError(t, err)
	s := rotationapi.Status(v, p.Now())
	require.Nil(t, s.GetPlan())
	require.Empty(t, s.GetBlockers())
	require.Equal(t, "cluster.local", s.GetTrustDomain())
	require.Len(t, s.GetAnchors(), 2)
	require.Len(t, s.GetZones(), 2)
	z := s.GetZones()[0]
	require.Equal(t, "eu-1", z.GetName())
	require.Equal(t, p.Old.String(), z.GetSigner())
	require.Equal(t, []*kedgev1.RotationCoverage{{Class: "renewal", Sequence: p.CA.Bundle.Sequence(), Live: 9880}}, z.GetCoverage())
	require.EqualValues(t, 9880, z.GetLeaves()[0].GetLive())
	require.Equal(t, "eu-1-a", z.GetReplicas()[0].GetName())
	require.Zero(t, z.GetReplicas()[0].GetClockOffset().AsDuration())
}

// TestStatusNamesWhatBlocks: whatever the plan waits for is on the wire, what the
// primary has found beside it as well, and what comes next says why not yet.
func TestStatusNamesWhatBlocks(t *testing.T) {
	p := rotationapitest.New(t)
	v := started(t, p)
	s := rotationapi.Status(v, p.Now())
	require.Equal(t, "staged", s.GetPlan().GetPhase())
	require.Equal(t, []string{"advance"}, codesOf(s))
	require.Equal(t, "distributing, when an operator lets it: ca rotate advance", s.GetNextStep())

	v.Reports[1].Received = p.Now().Add(-time.Hour)
	v.Plan.Phase = rotation.Distributing
	s = rotationapi.Status(v, p.Now())
	require.Contains(t, codesOf(s), "silent")
	require.Contains(t, s.GetNextStep(), "activating; not yet: zone eu-2")

	v.Blockers = []rotation.Blocker{{Code: rotation.CodeForked, Why: "zones hold bundle 44"}}
	require.Equal(t, "forked", codesOf(rotationapi.Status(v, p.Now()))[0])

	v.Plan.Paused = true
	require.Equal(t, "nothing, the rotation is paused: ca rotate resume", rotationapi.Status(v, p.Now()).GetNextStep())
}

func codesOf(s *kedgev1.RotationStatus) []string {
	var all []string
	for _, b := range s.GetBlockers() {
		all = append(all, b.GetCode())
	}
	return all
}

// TestStatusForecastsEveryPhase: from the present one to the last, each with what it
// waits for and not before the one before it.
func TestStatusForecastsEveryPhase(t *testing.T) {
	p := rotationapitest.New(t)
	v := started(t, p)
	s := rotationapi.Status(v, p.Now())
	var phases []string
	last := p.Now()
	for _, step := range s.GetSteps() {
		phases = append(phases, step.GetPhase())
		require.NotEmpty(t, step.GetDoes())
		require.NotEmpty(t, step.GetEndsWhen())
		require.False(t, step.GetEarliestEnd().AsTime().Before(last))
		last = step.GetEarliestEnd().AsTime()
	}
	require.Equal(t, []string{"staged", "distributing", "activating", "draining", "retiring"}, phases)
	require.Equal(t, last, s.GetEarliestEnd().AsTime())
	require.True(t, last.After(p.Now().Add(rotationapitest.LeafTTL)), "the last leaf has to die")
}

// TestDiffIsWhatChangesInTheBundle has a row for each way a plan can end.
func TestDiffIsWhatChangesInTheBundle(t *testing.T) {
	fresh := catest.New(t).Bundle.Active()
	rows := []struct {
		name   string
		change func(p *rotationapitest.Primary, v *rotationapi.View)
		want   map[string][2]string // old, new or fresh: slot before and after
	}{
		{"a standby is promoted", nil, map[string][2]string{"old": {"active", ""}, "new": {"standby", "active"}}},
		{"a new anchor comes", func(_ *rotationapitest.Primary, v *rotationapi.View) {
			v.Plan.New, v.New, v.Plan.NewPublished = ca.AnchorIDOf(fresh), fresh, false
		}, map[string][2]string{"old": {"active", ""}, "fresh": {"", "active"}}},
		{"an abort leaves the standby", func(_ *rotationapitest.Primary, v *rotationapi.View) { v.Plan.Phase = rotation.Aborting }, map[string][2]string{}},
		{"an abort drops what was not there", func(_ *rotationapitest.Primary, v *rotationapi.View) {
			v.Plan.Phase, v.Plan.NewPublished = rotation.Aborting, false
		}, map[string][2]string{"new": {"standby", ""}}},
		{"an emergency drops the new one", func(_ *rotationapitest.Primary, v *rotationapi.View) {
			v.Plan.Emergency = &rotation.Emergency{Anchor: v.Plan.New}
		}, map[string][2]string{"new": {"standby", ""}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := rotationapitest.New(t)
			v := started(t, p)
			if row.change != nil {
				row.change(p, &v)
			}
			names := map[string]string{p.Old.String(): "old", p.New.String(): "new", ca.AnchorIDOf(fresh).String(): "fresh"}
			got := map[string][2]string{}
			for _, c := range rotationapi.Diff(v) {
				got[names[c.GetId()]] = [2]string{c.GetBefore(), c.GetAfter()}
				require.NotEmpty(t, c.GetSubject())
			}
			require.Equal(t, row.want, got)
		})
	}
}

// TestCostOfAnEmergencyIsByZone: a zone that is silent or never reported is named, and
// never counts as none.
func TestCostOfAnEmergencyIsByZone(t *testing.T) {
	p := rotationapitest.New(t)
	v := started(t, p)
	v.Plan.Zones = append(v.Plan.Zones, rotation.ZoneState{Name: "us-1"})
	v.Reports[1].Received = p.Now().Add(-time.Hour)
	v.Reports[1].Live[p.Old] = 120
	cost := rotationapi.Cost(v, p.Old, rotationapi.Rate{PerSecond: 3000, Source: "measured"}, p.Now().Add(-time.Minute))
	require.EqualValues(t, 10_000, cost.GetFailing())
	require.Equal(t, []string{"eu-2", "us-1"}, cost.GetUnknown())
	require.Len(t, cost.GetZones(), 2)
	require.EqualValues(t, 9880, cost.GetZones()[0].GetFailing())
	require.Equal(t, 4*time.Second, cost.GetReissue().AsDuration(), "9 880 at 3 000 a second, begun seconds counted; the other zone is done before")
	require.Equal(t, rotationapitest.LeafTTL/2, cost.GetRenewal().AsDuration())
	require.Zero(t, rotationapi.Cost(v, p.New, rotationapi.Rate{}, p.Now()).GetFailing())
	require.Nil(t, rotationapi.Cost(v, p.Old, rotationapi.Rate{}, p.Now()).GetReissue(), "without a rate nothing is promised")
}

// TestReplicasAreMergedToTheLeastOfThem: a zone says only what holds of each, and the
// leaves of one that was removed count still.
func TestReplicasAreMergedToTheLeastOfThem(t *testing.T) {
	p := rotationapitest.New(t)
	p.Set(func(v *rotationapi.View) {
		second := v.Reports[0]
		second.Replica, second.Sequence, second.Signer = "eu-1-b", second.Sequence-1, p.New
		second.Clock = second.Clock.Add(-40 * time.Second)
		gone := v.Reports[0]
		gone.Replica, gone.Removed, gone.Sequence = "eu-1-c", true, 0
		v.Reports = append(v.Reports, second, gone)
	})
	v, err := p.View(t.Context())
	require.NoError(t, err)
	z := rotationapi.Status(v, p.Now()).GetZones()[0]
	require.Equal(t, p.CA.Bundle.Sequence()-1, z.GetSequence())
	require.Empty(t, z.GetSigner(), "they differ")
	require.Len(t, z.GetReplicas(), 2, "one was removed")
	require.Equal(t, -40*time.Second, z.GetReplicas()[1].GetClockOffset().AsDuration())
	require.EqualValues(t, 3*9880, z.GetLeaves()[0].GetLive())
}
