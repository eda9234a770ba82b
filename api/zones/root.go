package zones

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// RootFor implements ca.RootFor: the primary signs under every anchor that it has a
// root of.
func (c *Client) RootFor(_ context.Context, anchor ca.AnchorID) (ca.Root, error) {
	return &root{c, anchor}, nil
}

// root is the primary's root of one anchor. What it signs is checked here and again
// by the custodian.
type root struct {
	client *Client
	anchor ca.AnchorID
}

// Anchor implements ca.Root. The bundle that is held has it, or nobody may sign
// under it here.
func (r *root) Anchor(ctx context.Context) (*x509.Certificate, error) {
	held, err := r.client.c.Held(ctx)
	if err != nil {
		return nil, err
	}
	anchor := held.Anchor(r.anchor)
	if anchor == nil {
		return nil, ca.Refuse(ca.ReasonRootMismatch, "anchor %s is not in bundle %d, which is held", r.anchor, held.Sequence())
	}
	return anchor, nil
}

// maxSkew is how far the primary's clock may be from this machine's.
const maxSkew = 5 * time.Minute

// SignIntermediate implements ca.Root. The primary dates by its own clock, so it is
// asked for a little less than may be.
func (r *root) SignIntermediate(ctx context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	request, err := ca.CheckIntermediateCSR(csr, r.client.c.Policy, p.NotAfter)
	if err != nil {
		return nil, fmt.Errorf("asking the primary for an intermediate: %w", err)
	}
	anchor, err := r.Anchor(ctx)
	if err != nil {
		return nil, err
	}
	call, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	answer, err := r.client.rpc.SignIntermediate(call, &kedgev1.SignIntermediateRequest{
		Csr: csr, Anchor: r.anchor[:], Lifetime: durationpb.New(p.NotAfter.Sub(p.NotBefore) - ca.CABackdate - maxSkew),
	})
	if err != nil {
		return nil, r.client.failure(ctx, "asking the primary for an intermediate", err)
	}
	chain, err := parseChain(answer.GetChain())
	if err != nil {
		return nil, ca.Refuse(ca.ReasonRootAnswer, "the primary's answer: %w", err)
	}
	return chain, ca.SignedIntermediate{Chain: chain, Anchor: anchor, CSR: request, Request: byItsClock(p, chain[0]), Policy: r.client.c.Policy}.Check()
}

// byItsClock is p as a primary understands it whose clock differs by maxSkew at most.
func byItsClock(p ca.IntermediateRequest, cert *x509.Certificate) ca.IntermediateRequest {
	wanted := p.NotAfter.Add(-maxSkew)
	skew := cert.NotAfter.Sub(wanted)
	if skew.Abs() > maxSkew {
		skew = 0 // and it is refused for its dates
	}
	p.NotAfter, p.NotBefore = wanted.Add(skew), p.NotBefore.Add(skew)
	return p
}

// maxChain is the intermediate and what may stand between it and an anchor.
const maxChain = 4

func parseChain(der [][]byte) ([]*x509.Certificate, error) {
	if len(der) == 0 || len(der) > maxChain {
		return nil, fmt.Errorf("a chain of %d certificates, want 1 to %d", len(der), maxChain)
	}
	var chain []*x509.Certificate
	for i, raw := range der {
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}
