package upstream

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// DefaultTimeout bounds a call: an HSM takes part of a second, a cloud or a
// step-ca some.
const DefaultTimeout = 30 * time.Second

// Config is what a Root works with.
type Config struct {
	Client  upstreamv1.UpstreamClient // over a connection of api/upstream.Dial
	Policy  fips.Policy
	Timeout time.Duration // of one call; 0 means DefaultTimeout
}

// Root asks an upstream. It implements ca.Root and is safe for concurrent use.
type Root struct{ c Config }

var _ ca.Root = (*Root)(nil)

// New checks c. It does not call the upstream.
func New(c Config) (*Root, error) {
	if c.Client == nil || c.Policy.Name() == "" {
		return nil, fmt.Errorf("upstream root needs a client and a policy")
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return &Root{c: c}, nil
}

// Anchor implements ca.Root.
func (r *Root) Anchor(ctx context.Context) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, r.c.Timeout)
	defer cancel()
	answer, err := r.c.Client.GetAnchors(ctx, &upstreamv1.GetAnchorsRequest{})
	if err != nil {
		return nil, upstream.FromStatus(ctx, "asking the upstream for its anchor", err)
	}
	if len(answer.GetAnchors()) == 0 {
		return nil, ca.Refuse(ca.ReasonRootUnavailable, "the upstream has no anchor")
	}
	anchor, err := x509.ParseCertificate(answer.GetAnchors()[0])
	if err != nil {
		return nil, ca.Refuse(ca.ReasonRootUnavailable, "reading the upstream's anchor: %w", err)
	}
	if err := r.checkAnchor(anchor); err != nil {
		return nil, ca.Refuse(ca.ReasonRootUnavailable, "the upstream's anchor %q: %w", anchor.Subject.CommonName, err)
	}
	return anchor, nil
}

// SignIntermediate implements ca.Root.
func (r *Root) SignIntermediate(ctx context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	request, err := ca.CheckIntermediateCSR(csr, r.c.Policy, p.NotAfter)
	if err != nil {
		return nil, fmt.Errorf("asking the upstream for an intermediate: %w", err)
	}
	anchor, err := r.Anchor(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.c.Timeout)
	defer cancel()
	answer, err := r.c.Client.SignIntermediate(ctx, &upstreamv1.SignIntermediateRequest{
		Csr: csr, TrustDomain: p.TrustDomain.String(),
		NotBefore: timestamppb.New(p.NotBefore), NotAfter: timestamppb.New(p.NotAfter),
	})
	if err != nil {
		return nil, upstream.FromStatus(ctx, "asking the upstream for an intermediate", err)
	}
	chain, err := parseChain(answer.GetChain())
	if err != nil {
		return nil, ca.Refuse(ca.ReasonRootAnswer, "the upstream's answer: %w", err)
	}
	if err := (ca.SignedIntermediate{Chain: chain, Anchor: anchor, CSR: request, Request: p, Policy: r.c.Policy}).Check(); err != nil {
		return nil, err
	}
	if err := checkBegin(chain[0], p); err != nil {
		return nil, err
	}
	return chain, nil
}
