package upstream

import (
	"context"
	"crypto/x509"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	upstreamv1 "github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// clockSkew is how far the caller's clock may be ahead of the server's.
const clockSkew = 5 * time.Minute

// GetAnchors implements upstreamv1.UpstreamServer.
func (s *service) GetAnchors(ctx context.Context, _ *upstreamv1.GetAnchorsRequest) (*upstreamv1.GetAnchorsResponse, error) {
	if s.c.Root == nil {
		return nil, status.Error(codes.Unimplemented, "this upstream holds no root")
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	anchor, err := s.c.Root.Anchor(ctx)
	if err != nil {
		return nil, err
	}
	return &upstreamv1.GetAnchorsResponse{Anchors: [][]byte{anchor.Raw}}, nil
}

// SignIntermediate implements upstreamv1.UpstreamServer.
func (s *service) SignIntermediate(ctx context.Context, r *upstreamv1.SignIntermediateRequest) (*upstreamv1.SignIntermediateResponse, error) {
	if s.c.Root == nil {
		return nil, status.Error(codes.Unimplemented, "this upstream holds no root")
	}
	want, err := s.intermediateRequest(r)
	if err != nil {
		return nil, err
	}
	if err := s.checkCSR(r.GetCsr(), want.NotAfter); err != nil {
		return nil, err
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	chain, err := s.c.Root.SignIntermediate(ctx, r.GetCsr(), want)
	if err != nil {
		return nil, err
	}
	answer := &upstreamv1.SignIntermediateResponse{}
	for _, link := range chain {
		answer.Chain = append(answer.Chain, link.Raw)
	}
	return answer, nil
}

// intermediateRequest judges everything of r but the CSR. Its bounds hold even
// when the authority that calls was taken over: no intermediate of years, none
// for a time that is to come.
func (s *service) intermediateRequest(r *upstreamv1.SignIntermediateRequest) (ca.IntermediateRequest, error) {
	var want ca.IntermediateRequest
	domain, err := ca.ParseTrustDomain(r.GetTrustDomain())
	if err != nil || domain != s.c.TrustDomain {
		return want, status.Errorf(codes.InvalidArgument, "this upstream signs for trust domain %s, not %q", s.c.TrustDomain, r.GetTrustDomain())
	}
	if !r.GetNotBefore().IsValid() || !r.GetNotAfter().IsValid() {
		return want, status.Error(codes.InvalidArgument, "the time of the intermediate is missing")
	}
	want = ca.IntermediateRequest{TrustDomain: domain, NotBefore: r.GetNotBefore().AsTime(), NotAfter: r.GetNotAfter().AsTime()}
	now := s.c.Now()
	switch {
	case !want.NotAfter.After(now):
		return want, status.Errorf(codes.InvalidArgument, "the intermediate would have ended at %s", want.NotAfter)
	case want.NotBefore.After(now.Add(clockSkew)):
		return want, status.Errorf(codes.InvalidArgument, "the intermediate would begin at %s; the clocks differ", want.NotBefore)
	case want.NotAfter.Sub(now) > ca.MaxIntermediateLifetime+clockSkew:
		return want, status.Errorf(codes.InvalidArgument, "the intermediate would live more than %s", ca.MaxIntermediateLifetime)
	case want.NotBefore.Before(now.Add(-ca.CABackdate - clockSkew)):
		return want, status.Errorf(codes.InvalidArgument, "the intermediate would have begun at %s", want.NotBefore)
	}
	return want, nil
}

// checkCSR holds the request to policy before a foreign library reads it.
func (s *service) checkCSR(der []byte, notAfter time.Time) error {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "reading the request: %v", err)
	}
	for _, d := range []fips.Decision{
		s.c.Policy.CheckKey(csr.PublicKey, fips.UseCA, notAfter),
		s.c.Policy.CheckSPKI(csr.RawSubjectPublicKeyInfo),
		s.c.Policy.CheckSignatureAlgorithm(csr.SignatureAlgorithm),
	} {
		if !d.Allow {
			return status.Errorf(codes.InvalidArgument, "the request's key: %s: %s", d.Code, d.Detail)
		}
	}
	if err := csr.CheckSignature(); err != nil {
		return status.Errorf(codes.InvalidArgument, "the request does not prove its key: %v", err)
	}
	return nil
}
