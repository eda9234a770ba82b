package journal_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/journal"
)

var gone = journal.Removal{At: start.Add(time.Hour), Actor: "uid:0", Reason: "moved"}

func one(key string) journal.Replica {
	return journal.Replica{Zone: "eu-1", Name: "a", Key: key, Version: "1", JoinedAt: start}
}

func TestReplicaIsFoundByItsKeyUntilItIsRemoved(t *testing.T) {
	everywhere(t, func(t *testing.T, docs ca.Documents) {
		r := journal.NewRegistry(docs)
		require.NoError(t, r.AddZone(t.Context(), "eu-1", start))
		_, err := r.Admitted(t.Context(), "k1")
		require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(err))
		require.NoError(t, r.AddReplica(t.Context(), one("k1")))
		got, err := r.Admitted(t.Context(), "k1")
		require.NoError(t, err)
		require.Equal(t, one("k1"), got)
		_, err = r.Admitted(t.Context(), "")
		require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(err), "no key is nobody's")

		require.NoError(t, r.RemoveZone(t.Context(), "eu-1", gone))
		require.NoError(t, r.RemoveZone(t.Context(), "eu-1", gone), "again")
		_, err = r.Admitted(t.Context(), "k1")
		require.Equal(t, ca.ReasonZoneRemoved, ca.ReasonOf(err))
		_, err = r.Member(t.Context(), "eu-1", "a")
		require.Equal(t, ca.ReasonZoneRemoved, ca.ReasonOf(err))
		require.Equal(t, ca.ReasonZoneRemoved, ca.ReasonOf(r.AddReplica(t.Context(), one("k1"))), "its key is spent")
		zone, err := r.Zone(t.Context(), "eu-1")
		require.NoError(t, err)
		require.Equal(t, gone, zone.Removed)
	})
}

func TestZoneAndReplicaThatThereAreNotAreRefused(t *testing.T) {
	r := journal.NewRegistry(&catest.Documents{})
	_, err := r.Zone(t.Context(), "eu-1")
	require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(err))
	require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(r.RemoveZone(t.Context(), "eu-1", gone)))
	require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(r.RemoveReplica(t.Context(), "eu-1", "a", gone)))
	_, err = r.Member(t.Context(), "eu-1", "a")
	require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(err))
}

// TestNameIsOneReplicasUntilItIsRemoved: two of one name would report over each other.
func TestNameIsOneReplicasUntilItIsRemoved(t *testing.T) {
	r := journal.NewRegistry(&catest.Documents{})
	require.NoError(t, r.AddReplica(t.Context(), one("k1")))
	require.NoError(t, r.AddReplica(t.Context(), one("k1")), "again")
	require.Equal(t, ca.ReasonZoneTaken, ca.ReasonOf(r.AddReplica(t.Context(), one("k2"))))
	other := one("k1")
	other.Name = "b"
	require.Equal(t, ca.ReasonZoneTaken, ca.ReasonOf(r.AddReplica(t.Context(), other)), "one key, two replicas")

	anchor, end := ca.AnchorID{1}, start.Add(7*24*time.Hour)
	require.NoError(t, r.ExtendLease(t.Context(), "eu-1", "a", journal.Lease{Anchor: anchor, End: end}))
	require.NoError(t, r.ExtendLease(t.Context(), "eu-1", "a", journal.Lease{Anchor: anchor, End: end.Add(-time.Hour)}))
	require.NoError(t, r.RemoveReplica(t.Context(), "eu-1", "a", gone))
	require.Equal(t, ca.ReasonZoneRemoved, ca.ReasonOf(r.ExtendLease(t.Context(), "eu-1", "a", journal.Lease{Anchor: anchor, End: end})))

	require.NoError(t, r.AddReplica(t.Context(), one("k2")))
	got, err := r.Admitted(t.Context(), "k2")
	require.NoError(t, err)
	require.Equal(t, map[ca.AnchorID]time.Time{anchor: end}, got.Before, "what the one before may still sign is not forgotten")
	require.Equal(t, end, got.Lease())
	_, err = r.Admitted(t.Context(), "k1")
	require.Equal(t, ca.ReasonZoneUnknown, ca.ReasonOf(err))
}

func TestRemovedZoneMayBeThereAgainWithoutItsReplicas(t *testing.T) {
	r := journal.NewRegistry(&catest.Documents{})
	require.NoError(t, r.AddZone(t.Context(), "eu-1", start))
	require.NoError(t, r.AddReplica(t.Context(), one("k1")))
	require.NoError(t, r.RemoveZone(t.Context(), "eu-1", gone))
	require.NoError(t, r.AddZone(t.Context(), "eu-1", start.Add(2*time.Hour)))
	zone, err := r.Zone(t.Context(), "eu-1")
	require.NoError(t, err)
	require.Equal(t, journal.Zone{Name: "eu-1", CreatedAt: start.Add(2 * time.Hour)}, zone)
	_, err = r.Admitted(t.Context(), "k1")
	require.Equal(t, ca.ReasonZoneRemoved, ca.ReasonOf(err))
}

func TestLateReportDoesNotTakeThePlaceOfALaterOne(t *testing.T) {
	everywhere(t, func(t *testing.T, docs ca.Documents) {
		r := journal.NewRegistry(docs)
		second := rotation.Report{Zone: "eu-1", Replica: "a", Epoch: 2, Received: start.Add(time.Second), HighWater: map[ca.AnchorID]time.Time{{1}: start}}
		require.NoError(t, r.Report(t.Context(), second))
		require.NoError(t, r.Report(t.Context(), rotation.Report{Zone: "eu-1", Replica: "a", Epoch: 1, Received: start}))
		all, err := r.Reports(t.Context())
		require.NoError(t, err)
		require.Equal(t, []rotation.Report{second}, all)
	})
}

func TestNamesOfZonesAreThoseOfHosts(t *testing.T) {
	for _, name := range []string{"a", "eu-1", "0-9", "a234567890123456789012345678901234567890123456789012345678901-3"} {
		require.NoError(t, journal.CheckName(name), name)
	}
	for _, name := range []string{"", "-a", "a-", "EU", "a.b", "a/b", "ä", "a b", "a2345678901234567890123456789012345678901234567890123456789012-4"} {
		require.Equal(t, ca.ReasonZoneName, ca.ReasonOf(journal.CheckName(name)), name)
	}
}
