package zones

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// Primary is what the service asks.
//
// Bundles is the chain above a sequence, the oldest first. Replica tells who a key
// is: an unknown one is refused with ReasonZoneUnknown, a removed one with
// ReasonZoneRemoved. Follow blocks until there is something that the caller does not
// have, or ctx ends. All are safe for concurrent use.
type Primary interface {
	Bundles(ctx context.Context, after uint64) ([]bundle.Signed, error)
	Join(ctx context.Context, r primary.JoinRequest) (primary.JoinAnswer, error)
	Replica(ctx context.Context, keyHash [sha256.Size]byte) (rotation.Zone, string, error)
	Follow(ctx context.Context, have primary.Have) (primary.Directive, error)
	Report(ctx context.Context, r rotation.Report) error
	SignIntermediate(ctx context.Context, zone rotation.Zone, replica string, csr []byte, anchor ca.AnchorID, want time.Duration) ([]*x509.Certificate, error)
}

// Config is what the service is made of.
type Config struct {
	Primary Primary
	// Recheck is how often a stream asks whether its replica is still admitted; 0
	// means 5 s.
	Recheck time.Duration
}

// Register serves kedge.v1.Zones on r, which must be a server whose TLS has
// fips.RequireKey.
func Register(r grpc.ServiceRegistrar, c Config) error {
	if c.Primary == nil {
		return fmt.Errorf("zones service needs a primary")
	}
	if c.Recheck == 0 {
		c.Recheck = 5 * time.Second
	}
	kedgev1.RegisterZonesServer(r, &service{c: c})
	return nil
}

type service struct {
	kedgev1.UnimplementedZonesServer
	c Config
}

// Bounds of what is sent and taken.
const (
	maxBatch = 1 << 20  // bytes of bundles in one message, and one bundle more
	maxCSR   = 16 << 10 // an RSA key and its signature have 2 KiB
)

// batch is as many of all as one message carries, at least one.
func batch(all []bundle.Signed) []bundle.Signed {
	size := 0
	for i, s := range all {
		if size += len(s.Payload); size > maxBatch && i > 0 {
			return all[:i]
		}
	}
	return all
}

// Bundles implements kedgev1.ZonesServer.
func (s *service) Bundles(ctx context.Context, r *kedgev1.BundlesRequest) (*kedgev1.BundlesResponse, error) {
	all, err := s.c.Primary.Bundles(ctx, r.GetAfter())
	if err != nil {
		return nil, err
	}
	some := batch(all)
	return &kedgev1.BundlesResponse{Bundles: bundlesToWire(some), Last: last(some, r.GetAfter()), More: len(some) < len(all)}, nil
}

// Join implements kedgev1.ZonesServer.
func (s *service) Join(ctx context.Context, r *kedgev1.JoinRequest) (*kedgev1.JoinResponse, error) {
	key, err := callerKey(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := s.c.Primary.Join(ctx, primary.JoinRequest{Token: r.GetToken(), Replica: r.GetReplica(), KeyHash: key, Version: r.GetVersion()})
	if err != nil {
		return nil, err
	}
	return &kedgev1.JoinResponse{Zone: string(answer.Zone)}, nil
}

// Follow implements kedgev1.ZonesServer.
func (s *service) Follow(r *kedgev1.FollowRequest, stream grpc.ServerStreamingServer[kedgev1.Directive]) error {
	ctx := stream.Context()
	have := primary.Have{Sequence: r.GetSequence(), Epoch: r.GetEpoch(), Halted: r.GetHalted()}
	for {
		zone, replica, err := s.caller(ctx)
		if err != nil {
			return err
		}
		have.Zone, have.Replica = zone, replica
		d, err := s.next(ctx, have)
		if err != nil {
			return err
		}
		if d == nil {
			continue
		}
		d.Bundles = batch(d.Bundles)
		if err := stream.Send(directiveToWire(*d)); err != nil {
			return err
		}
		have = after(have, *d)
	}
}

// next waits a while for something that the replica does not have; nil when there
// was nothing.
func (s *service) next(ctx context.Context, have primary.Have) (*primary.Directive, error) {
	wait, cancel := context.WithTimeout(ctx, s.c.Recheck)
	defer cancel()
	d, err := s.c.Primary.Follow(wait, have)
	switch {
	case err == nil:
		return &d, nil
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return nil, nil //nolint:nilnil // nothing new is no error
	}
	return nil, err
}

// after is what a replica has once it has taken d.
func after(have primary.Have, d primary.Directive) primary.Have {
	have.Sequence, have.Halted = last(d.Bundles, have.Sequence), d.Halted
	have.Epoch = max(have.Epoch, d.Command.Epoch)
	return have
}

// Report implements kedgev1.ZonesServer.
func (s *service) Report(ctx context.Context, r *kedgev1.ReportRequest) (*kedgev1.ReportResponse, error) {
	zone, replica, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	report, err := ReportFromWire(r.GetReport())
	if err != nil {
		return nil, err
	}
	report.Zone, report.Replica = zone, replica
	if err := s.c.Primary.Report(ctx, report); err != nil {
		return nil, err
	}
	return &kedgev1.ReportResponse{}, nil
}

// SignIntermediate implements kedgev1.ZonesServer.
func (s *service) SignIntermediate(ctx context.Context, r *kedgev1.SignIntermediateRequest) (*kedgev1.SignIntermediateResponse, error) {
	zone, replica, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	anchor, err := anchorFromWire(r.GetAnchor())
	if err != nil {
		return nil, err
	}
	life := r.GetLifetime().AsDuration()
	if len(r.GetCsr()) == 0 || len(r.GetCsr()) > maxCSR || anchor.IsZero() || life <= 0 || life > ca.MaxIntermediateLifetime {
		return nil, ca.Refuse(ca.ReasonRequest, "a request for an intermediate of %s under anchor %s with a CSR of %d bytes", life, anchor, len(r.GetCsr()))
	}
	chain, err := s.c.Primary.SignIntermediate(ctx, zone, replica, r.GetCsr(), anchor, life)
	if err != nil {
		return nil, err
	}
	answer := &kedgev1.SignIntermediateResponse{}
	for _, link := range chain {
		answer.Chain = append(answer.Chain, link.Raw)
	}
	return answer, nil
}

// caller is the replica whose key the caller has proved.
func (s *service) caller(ctx context.Context) (rotation.Zone, string, error) {
	key, err := callerKey(ctx)
	if err != nil {
		return "", "", err
	}
	return s.c.Primary.Replica(ctx, key)
}

// callerKey is SHA-256 of the SubjectPublicKeyInfo that the TLS handshake has proved.
func callerKey(ctx context.Context) ([sha256.Size]byte, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) == 1 {
			return sha256.Sum256(info.State.PeerCertificates[0].RawSubjectPublicKeyInfo), nil
		}
	}
	return [sha256.Size]byte{}, ca.Refuse(ca.ReasonNoCredentials, "the caller has proved no key of its own")
}
