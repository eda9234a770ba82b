package kedgeapi

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedge-ca/kedge/api"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// Front issues certificates; *api.Front is one.
type Front interface {
	Issue(ctx context.Context, o api.Order) (ca.Issued, error)
}

// Bundles is the bundle in force and word of its next change; *ca.Authority is
// one. Take the channel before the bundle, or a change in between is missed.
type Bundles interface {
	Bundle() *ca.Bundle
	Reissue() ca.Reissue
	BundleChanged() <-chan struct{}
}

// Config is what the service is made of; all fields are needed.
type Config struct {
	Front           Front
	Bundles         Bundles
	Draining        <-chan struct{}
	Watchers        int // open streams at once
	WatchersPerPeer int // of one IPv4 address, or one IPv6 network of 64 bits
}

// Register serves kedge.v1.CertificateAuthority on r.
func Register(r grpc.ServiceRegistrar, c Config) error {
	if c.Front == nil || c.Bundles == nil || c.Draining == nil || c.Watchers <= 0 || c.WatchersPerPeer <= 0 {
		return fmt.Errorf("certificate service needs a front, bundles, a drain signal and limits of watchers above 0")
	}
	kedgev1.RegisterCertificateAuthorityServer(r, &service{
		c: c, watchers: watchers{limit: c.Watchers, perPeer: c.WatchersPerPeer, peers: make(map[string]int)},
	})
	return nil
}

type service struct {
	kedgev1.UnimplementedCertificateAuthorityServer
	c        Config
	watchers watchers
	last     atomic.Pointer[encodedBundle]
}

// Issue implements kedge.v1.
func (s *service) Issue(ctx context.Context, r *kedgev1.IssueRequest) (*kedgev1.IssueResponse, error) {
	return s.issue(ctx, r, false)
}

// Renew implements kedge.v1.
func (s *service) Renew(ctx context.Context, r *kedgev1.IssueRequest) (*kedgev1.IssueResponse, error) {
	return s.issue(ctx, r, true)
}

func (s *service) issue(ctx context.Context, r *kedgev1.IssueRequest, certificateOnly bool) (*kedgev1.IssueResponse, error) {
	ttl, err := lifetime(r.GetTtl())
	if err != nil {
		return nil, err
	}
	issued, err := s.c.Front.Issue(ctx, api.Order{
		Protocol: api.ProtocolKedge, CSR: r.GetCsr(), TTL: ttl, Profile: r.GetProfile(), CertificateOnly: certificateOnly,
	})
	if err != nil {
		return nil, err
	}
	return &kedgev1.IssueResponse{
		Certificate: issued.Leaf, Chain: issued.Chain, Bundle: s.encode(issued.Bundle),
		NotBefore: timestamppb.New(issued.NotBefore), NotAfter: timestamppb.New(issued.NotAfter), RenewAt: timestamppb.New(issued.RenewAt),
		Serial: issued.Serial, Identity: issued.Identity.String(),
	}, nil
}

// lifetime reads a Duration. AsDuration cuts what is too large, which the profile
// does as well; a value that is not a valid Duration at all is refused.
func lifetime(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, &ca.Error{Reason: ca.ReasonTTL, Err: err}
	}
	return d.AsDuration(), nil
}

// GetBundle implements kedge.v1.
func (s *service) GetBundle(context.Context, *kedgev1.GetBundleRequest) (*kedgev1.Bundle, error) {
	bundle := s.c.Bundles.Bundle()
	if bundle == nil {
		return nil, ca.Refuse(ca.ReasonNotReady, "no bundle yet")
	}
	return s.encode(bundle), nil
}

// WatchBundle implements kedge.v1.
func (s *service) WatchBundle(_ *kedgev1.WatchBundleRequest, stream grpc.ServerStreamingServer[kedgev1.Bundle]) error {
	leave, err := s.watchers.enter(stream.Context())
	if err != nil {
		return err
	}
	defer leave()
	var sent uint64
	var asked ca.Reissue
	for {
		changed := s.c.Bundles.BundleChanged()
		bundle, reissue := s.c.Bundles.Bundle(), s.c.Bundles.Reissue()
		if bundle != nil && (bundle.Sequence() != sent || reissue != asked) {
			if err := stream.Send(withReissue(s.encode(bundle), reissue)); err != nil {
				return err
			}
			sent, asked = bundle.Sequence(), reissue
			continue
		}
		select {
		case <-changed:
		case <-s.c.Draining:
			return ca.Refuse(ca.ReasonDraining, "drain")
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// encodedBundle is the wire form of a bundle, made once and shared by every answer.
type encodedBundle struct {
	bundle *ca.Bundle
	wire   *kedgev1.Bundle
}

func (s *service) encode(bundle *ca.Bundle) *kedgev1.Bundle {
	last := s.last.Load()
	if last == nil || last.bundle != bundle {
		last = &encodedBundle{bundle: bundle, wire: EncodeBundle(bundle)}
		s.last.Store(last)
	}
	return last.wire
}

// withReissue is the wire form of a bundle for a watcher.
func withReissue(bundle *kedgev1.Bundle, r ca.Reissue) *kedgev1.Bundle {
	if r == (ca.Reissue{}) {
		return bundle
	}
	return &kedgev1.Bundle{
		TrustDomain: bundle.GetTrustDomain(), Sequence: bundle.GetSequence(), Anchors: bundle.GetAnchors(),
		Reissue: &kedgev1.Reissue{Anchor: r.Anchor[:], Over: durationpb.New(r.Over)},
	}
}

// EncodeBundle is the wire form of a bundle.
func EncodeBundle(bundle *ca.Bundle) *kedgev1.Bundle {
	wire := &kedgev1.Bundle{TrustDomain: bundle.TrustDomain().String(), Sequence: bundle.Sequence()}
	for _, a := range bundle.Anchors() {
		wire.Anchors = append(wire.Anchors, &kedgev1.Anchor{Certificate: a.Certificate.Raw, Slot: slots[a.Slot]})
	}
	return wire
}

var slots = map[ca.Slot]kedgev1.Slot{
	ca.SlotActive: kedgev1.Slot_SLOT_ACTIVE, ca.SlotStandby: kedgev1.Slot_SLOT_STANDBY, ca.SlotDraining: kedgev1.Slot_SLOT_DRAINING,
}
