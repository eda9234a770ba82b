package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

func testZoneChecks(t *testing.T, seen checked) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-d)) }
	for name, row := range map[string]struct {
		membership *kedgev1.Membership
		want       []string
	}{
		"well":           {&kedgev1.Membership{Zone: "eu-1", Replica: "a", Primary: "p:1", LastContact: ago(time.Second), BundleIssuedAt: ago(day)}, []string{}},
		"not joined":     {nil, []string{"fail primary-reachable: this replica has not joined its zone yet"}},
		"never heard of": {&kedgev1.Membership{Zone: "eu-1", Replica: "a", Primary: "p:1", ContactError: "refused"}, []string{"warn primary-reachable: replica a of zone eu-1 has not heard of p:1 since it started: refused", "warn bundle-age: bundle 4; whether there is a later one is not known"}},
		"silent":         {&kedgev1.Membership{Zone: "eu-1", Replica: "a", Primary: "p:1", LastContact: ago(2 * time.Minute)}, []string{"warn primary-reachable: replica a of zone eu-1 heard of p:1 last 2026-11-24T11:58:00Z (2m0s ago): it is silent", "warn bundle-age: bundle 4; whether there is a later one is not known"}},
	} {
		results := membershipChecks(&kedgev1.StatusResponse{Now: timestamppb.New(now), Bundle: &kedgev1.Bundle{Sequence: 4}, Membership: row.membership})
		seen.note(results)
		require.Equal(t, row.want, notWell(results), name)
	}

	replica := func(change func(*kedgev1.ReplicaStatus)) *kedgev1.ListZonesResponse {
		r := &kedgev1.ReplicaStatus{Name: "a", LastContact: ago(time.Second), Report: &kedgev1.ReplicaReport{Sequence: 4, Clock: ago(time.Second)}}
		change(r)
		return &kedgev1.ListZonesResponse{Now: timestamppb.New(now), Sequence: 4, Zones: []*kedgev1.ZoneStatus{{Name: "eu-1", Replicas: []*kedgev1.ReplicaStatus{r}}}}
	}
	for name, row := range map[string]struct {
		change func(*kedgev1.ReplicaStatus)
		want   []string
	}{
		"well":      {func(*kedgev1.ReplicaStatus) {}, []string{}},
		"removed":   {func(r *kedgev1.ReplicaStatus) { r.Removed, r.LastContact = true, nil }, []string{}},
		"never":     {func(r *kedgev1.ReplicaStatus) { r.Report, r.LastContact = nil, nil }, []string{"warn zones-current: zone eu-1, replica a: it has never reported"}},
		"silent":    {func(r *kedgev1.ReplicaStatus) { r.LastContact = ago(3 * time.Minute) }, []string{"warn zones-current: zone eu-1, replica a: silent since 3m0s"}},
		"behind":    {func(r *kedgev1.ReplicaStatus) { r.Report.Sequence = 2 }, []string{"warn zones-current: zone eu-1, replica a: it holds bundle 2, 2 bundles behind"}},
		"bad clock": {func(r *kedgev1.ReplicaStatus) { r.Report.Clock = ago(time.Hour) }, []string{"warn zones-current: zone eu-1, replica a: its clock differs by -59m59s"}},
	} {
		results := zoneChecks(replica(row.change))
		seen.note(results)
		require.Equal(t, row.want, notWell(results), name)
	}
}
