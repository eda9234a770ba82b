package admin

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/zones"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/journal"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// Zones is what an operator does to zones; *primary.Primary does it. Each act is
// recorded with its actor.
type Zones interface {
	Token(ctx context.Context, zone rotation.Zone, ttl time.Duration, actor string) (string, error)
	Status(ctx context.Context) (primary.Status, error)
	RemoveZone(ctx context.Context, zone rotation.Zone, actor, reason string) error
	RemoveReplica(ctx context.Context, zone rotation.Zone, replica string, why journal.Removal) error
}

// RegisterZones serves kedge.v1.ZonesAdmin on r, which must be a server with
// Credentials. nil is a server that is no primary, and refuses every call by that.
func RegisterZones(r grpc.ServiceRegistrar, z Zones, now func() time.Time) error {
	if now == nil {
		return fmt.Errorf("zones service needs a clock")
	}
	kedgev1.RegisterZonesAdminServer(r, &zonesService{zones: z, now: now})
	return nil
}

type zonesService struct {
	kedgev1.UnimplementedZonesAdminServer
	zones Zones
	now   func() time.Time
}

// enter is the operator, when there is a primary to ask.
func (s *zonesService) enter(ctx context.Context) (string, error) {
	if s.zones == nil {
		return "", ca.Refuse(ca.ReasonNoPrimary, "this server is a replica of a zone; ask its primary")
	}
	return actor(ctx)
}

// Bounds of a join token's life.
const (
	minZoneToken = time.Second
	maxZoneToken = 24 * time.Hour
)

// CreateZoneToken implements kedgev1.ZonesAdminServer.
func (s *zonesService) CreateZoneToken(ctx context.Context, r *kedgev1.CreateZoneTokenRequest) (*kedgev1.CreateZoneTokenResponse, error) {
	who, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	ttl := r.GetTtl().AsDuration()
	if ttl == 0 {
		ttl = primary.DefaultTokenTTL
	}
	if ttl < minZoneToken || ttl > maxZoneToken {
		return nil, ca.Refuse(ca.ReasonTTL, "a join token lives %s to %s, not %s", minZoneToken, maxZoneToken, ttl)
	}
	expires := s.now().Add(ttl)
	token, err := s.zones.Token(ctx, rotation.Zone(r.GetZone()), ttl, who)
	if err != nil {
		return nil, err
	}
	return &kedgev1.CreateZoneTokenResponse{Token: token, ExpiresAt: timestamppb.New(expires)}, nil
}

// ListZones implements kedgev1.ZonesAdminServer.
func (s *zonesService) ListZones(ctx context.Context, _ *kedgev1.ListZonesRequest) (*kedgev1.ListZonesResponse, error) {
	if _, err := s.enter(ctx); err != nil {
		return nil, err
	}
	status, err := s.zones.Status(ctx)
	if err != nil {
		return nil, err
	}
	answer := &kedgev1.ListZonesResponse{Now: timestamppb.New(s.now()), Sequence: status.Bundle.Sequence()}
	for _, z := range status.Zones {
		answer.Zones = append(answer.Zones, encodeZone(z))
	}
	return answer, nil
}

func encodeZone(z primary.ZoneStatus) *kedgev1.ZoneStatus {
	wire := &kedgev1.ZoneStatus{Name: string(z.Name), Removed: !z.Removed.IsZero()}
	for _, r := range z.Replicas {
		one := &kedgev1.ReplicaStatus{Name: r.Name, Version: r.Version, JoinedAt: timestamppb.New(r.JoinedAt), Removed: !r.Removed.IsZero()}
		one.KeyHash, _ = hex.DecodeString(r.Key) // "" at the primary, else as journal has written it
		if lease := r.Lease(); !lease.IsZero() {
			one.Lease = timestamppb.New(lease)
		}
		if !r.Report.Received.IsZero() {
			one.Report, one.LastContact = zones.ReportToWire(r.Report), timestamppb.New(r.Report.Received)
		}
		wire.Replicas = append(wire.Replicas, one)
	}
	return wire
}

// RemoveZone implements kedgev1.ZonesAdminServer.
func (s *zonesService) RemoveZone(ctx context.Context, r *kedgev1.RemoveZoneRequest) (*kedgev1.RemoveZoneResponse, error) {
	who, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.zones.RemoveZone(ctx, rotation.Zone(r.GetZone()), who, r.GetReason()); err != nil {
		return nil, err
	}
	lease, err := s.lease(ctx, r.GetZone(), "")
	return &kedgev1.RemoveZoneResponse{Lease: lease}, err
}

// RemoveReplica implements kedgev1.ZonesAdminServer.
func (s *zonesService) RemoveReplica(ctx context.Context, r *kedgev1.RemoveReplicaRequest) (*kedgev1.RemoveReplicaResponse, error) {
	who, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	why := journal.Removal{Actor: who, Reason: r.GetReason()}
	if err := s.zones.RemoveReplica(ctx, rotation.Zone(r.GetZone()), r.GetReplica(), why); err != nil {
		return nil, err
	}
	lease, err := s.lease(ctx, r.GetZone(), r.GetReplica())
	return &kedgev1.RemoveReplicaResponse{Lease: lease}, err
}

// lease is when the last intermediate ends that a zone, or one replica of it, may
// have; nil when none does.
func (s *zonesService) lease(ctx context.Context, zone, replica string) (*timestamppb.Timestamp, error) {
	status, err := s.zones.Status(ctx)
	if err != nil {
		return nil, err
	}
	var end time.Time
	for _, z := range status.Zones {
		if string(z.Name) != zone {
			continue
		}
		for _, r := range z.Replicas {
			if lease := r.Lease(); (replica == "" || replica == r.Name) && lease.After(end) {
				end = lease
			}
		}
	}
	if end.IsZero() {
		return nil, nil //nolint:nilnil // there is none
	}
	return timestamppb.New(end), nil
}
