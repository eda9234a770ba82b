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
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/journal"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// zonesDone notes what was asked of a primary.
type zonesDone struct {
	done   []string
	status primary.Status
	err    error
}

func (z *zonesDone) Token(_ context.Context, zone rotation.Zone, ttl time.Duration, actor string) (string, error) {
	z.done = append(z.done, strings.Join([]string{"token", string(zone), ttl.String(), actor}, " "))
	return "kedge-zone-secret", z.err
}

func (z *zonesDone) Status(context.Context) (primary.Status, error) { return z.status, z.err }

func (z *zonesDone) RemoveZone(_ context.Context, zone rotation.Zone, actor, reason string) error {
	z.done = append(z.done, strings.Join([]string{"remove", string(zone), actor, reason}, " "))
	return z.err
}

func (z *zonesDone) RemoveReplica(_ context.Context, zone rotation.Zone, replica string, why journal.Removal) error {
	z.done = append(z.done, strings.Join([]string{"remove", string(zone), replica, why.Actor, why.Reason}, " "))
	return z.err
}

// zonesClient is a client of a server with z, which may be nil.
func zonesClient(t *testing.T, z admin.Zones) kedgev1.ZonesAdminClient {
	t.Helper()
	socket := socketPath(t)
	server := grpc.NewServer(grpc.Creds(admin.Credentials()), grpc.UnaryInterceptor(admin.UnaryInterceptor(discard())))
	require.NoError(t, admin.RegisterZones(server, z, func() time.Time { return catest.Start }))
	listener, err := admin.Listen(socket)
	require.NoError(t, err)
	serve(t, server, listener)
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(admin.Credentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return kedgev1.NewZonesAdminClient(conn)
}

func TestZonesAreActedOnInTheNameOfTheOperator(t *testing.T) {
	end := catest.Start.Add(time.Hour)
	z := &zonesDone{status: primary.Status{Bundle: catest.New(t).Bundle, Zones: []primary.ZoneStatus{{
		Zone: journal.Zone{Name: "eu-1"},
		Replicas: []primary.ReplicaStatus{
			{Replica: journal.Replica{Zone: "eu-1", Name: "a", Key: "0aff", Version: "1", JoinedAt: catest.Start, Leases: map[ca.AnchorID]time.Time{{1}: end}}},
			{
				Replica: journal.Replica{Zone: "eu-1", Name: "b", JoinedAt: catest.Start, Leases: map[ca.AnchorID]time.Time{{1}: end.Add(time.Hour)}, Removed: journal.Removal{At: catest.Start}},
				Report:  rotation.Report{Sequence: 3, Received: catest.Start},
			},
		},
	}}}}
	c := zonesClient(t, z)
	token, err := c.CreateZoneToken(t.Context(), &kedgev1.CreateZoneTokenRequest{Zone: "eu-1"})
	require.NoError(t, err)
	require.Equal(t, "kedge-zone-secret", token.GetToken())
	require.Equal(t, catest.Start.Add(time.Hour), token.GetExpiresAt().AsTime())

	list, err := c.ListZones(t.Context(), &kedgev1.ListZonesRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 1, list.GetSequence())
	replicas := list.GetZones()[0].GetReplicas()
	require.Equal(t, []byte{0x0a, 0xff}, replicas[0].GetKeyHash())
	require.Nil(t, replicas[0].GetReport(), "it has made none")
	require.True(t, replicas[1].GetRemoved())
	require.EqualValues(t, 3, replicas[1].GetReport().GetSequence())

	one, err := c.RemoveReplica(t.Context(), &kedgev1.RemoveReplicaRequest{Zone: "eu-1", Replica: "a", Reason: "lost"})
	require.NoError(t, err)
	require.Equal(t, timestamppb.New(end).AsTime(), one.GetLease().AsTime())
	all, err := c.RemoveZone(t.Context(), &kedgev1.RemoveZoneRequest{Zone: "eu-1", Reason: "closed"})
	require.NoError(t, err)
	require.Equal(t, end.Add(time.Hour), all.GetLease().AsTime())
	require.Equal(t, []string{"token eu-1 1h0m0s " + uid(), "remove eu-1 a " + uid() + " lost", "remove eu-1 " + uid() + " closed"}, z.done)
}

func TestTokenOfAZoneLivesADayAtTheLongest(t *testing.T) {
	z := &zonesDone{}
	c := zonesClient(t, z)
	for _, ttl := range []time.Duration{-time.Second, time.Millisecond, 25 * time.Hour} {
		_, err := c.CreateZoneToken(t.Context(), &kedgev1.CreateZoneTokenRequest{Zone: "eu-1", Ttl: durationpb.New(ttl)})
		require.Equal(t, ca.ReasonTTL, apitest.RefusalOf(t, err).Reason, ttl)
	}
	require.Empty(t, z.done)
}

func TestReplicaOfAZoneIsNoPrimary(t *testing.T) {
	c := zonesClient(t, nil)
	for name, call := range map[string]func() error{
		"token":          func() error { _, err := c.CreateZoneToken(t.Context(), &kedgev1.CreateZoneTokenRequest{}); return err },
		"list":           func() error { _, err := c.ListZones(t.Context(), &kedgev1.ListZonesRequest{}); return err },
		"remove":         func() error { _, err := c.RemoveZone(t.Context(), &kedgev1.RemoveZoneRequest{}); return err },
		"remove replica": func() error { _, err := c.RemoveReplica(t.Context(), &kedgev1.RemoveReplicaRequest{}); return err },
	} {
		require.Equal(t, ca.ReasonNoPrimary, apitest.RefusalOf(t, call()).Reason, name)
	}
}

func TestRefusalOfThePrimaryReachesTheOperator(t *testing.T) {
	c := zonesClient(t, &zonesDone{err: ca.Refuse(ca.ReasonZoneUnknown, "there is no zone")})
	_, err := c.RemoveZone(t.Context(), &kedgev1.RemoveZoneRequest{Zone: "eu-9", Reason: "x"})
	require.Equal(t, ca.ReasonZoneUnknown, apitest.RefusalOf(t, err).Reason)
}
