package kedgeapi_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/kedgeapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

func newClient(t *testing.T, s *apitest.Server) kedgev1.CertificateAuthorityClient {
	t.Helper()
	return kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
}

func TestAnAnswerSaysWhatTheCertificateSays(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	key := catest.GenerateKey(t, fips.ECDSAP256)
	r, err := newClient(t, s).Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: catest.CSR(t, key, s.Identity("a")), Ttl: durationpb.New(time.Hour)})
	require.NoError(t, err)
	leaf := apitest.RequireLeaf(t, s.Identity("a"), r.GetCertificate(), r.GetChain(), s.CA.Bundle)
	require.True(t, fips.PublicKeyEqual(key.Public(), leaf.PublicKey))
	require.Equal(t, s.Identity("a"), r.GetIdentity())
	require.Equal(t, leaf.NotBefore, r.GetNotBefore().AsTime())
	require.Equal(t, leaf.NotAfter, r.GetNotAfter().AsTime())
	records := s.CA.Recorder.Records()
	require.Equal(t, records[len(records)-1].Serial, r.GetSerial())
	require.Equal(t, [][]byte{s.CA.Intermediate.Certificate().Raw}, r.GetChain())
	requireBundle(t, s.CA.Bundle, r.GetBundle())
	life := leaf.NotAfter.Sub(s.Clock.Now())
	after := r.GetRenewAt().AsTime().Sub(s.Clock.Now())
	require.Greater(t, after, life*39/100)
	require.Less(t, after, life*71/100)
}

func requireBundle(t *testing.T, want *ca.Bundle, got *kedgev1.Bundle) {
	t.Helper()
	require.Equal(t, want.TrustDomain().String(), got.GetTrustDomain())
	require.Equal(t, want.Sequence(), got.GetSequence())
	require.Len(t, got.GetAnchors(), len(want.Anchors()))
	slots := map[ca.Slot]kedgev1.Slot{
		ca.SlotActive: kedgev1.Slot_SLOT_ACTIVE, ca.SlotStandby: kedgev1.Slot_SLOT_STANDBY, ca.SlotDraining: kedgev1.Slot_SLOT_DRAINING,
	}
	for i, a := range want.Anchors() {
		require.Equal(t, a.Certificate.Raw, got.GetAnchors()[i].GetCertificate(), "canonical order")
		require.Equal(t, slots[a.Slot], got.GetAnchors()[i].GetSlot())
	}
}

// TestEverySlotHasAWireForm: a slot without one would go out as unspecified.
func TestEverySlotHasAWireForm(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	for _, slot := range []ca.Slot{ca.SlotStandby, ca.SlotDraining} {
		bundle, err := ca.NewBundle(s.CA.Domain, 9, []ca.Anchor{
			{Certificate: s.CA.Root, Slot: ca.SlotActive}, {Certificate: s.CA.Standby, Slot: slot},
		})
		require.NoError(t, err)
		requireBundle(t, bundle, kedgeapi.EncodeBundle(bundle))
	}
}

func TestLifetimes(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := newClient(t, s)
	rows := map[string]struct {
		ttl  *durationpb.Duration
		life time.Duration // 0 is refused
	}{
		"absent":             {nil, 24 * time.Hour},
		"zero":               {&durationpb.Duration{}, 24 * time.Hour},
		"1 ns":               {&durationpb.Duration{Nanos: 1}, 0},
		"-1 ns":              {&durationpb.Duration{Nanos: -1}, 0},
		"-1 s":               {&durationpb.Duration{Seconds: -1}, 0},
		"5 min less 1 ns":    {durationpb.New(5*time.Minute - 1), 0},
		"5 min":              {durationpb.New(5 * time.Minute), 5 * time.Minute},
		"1 h":                {durationpb.New(time.Hour), time.Hour},
		"24 h":               {durationpb.New(24 * time.Hour), 24 * time.Hour},
		"24 h and 1 ns":      {durationpb.New(24*time.Hour + 1), 24 * time.Hour},
		"10 000 years":       {&durationpb.Duration{Seconds: 315_576_000_000}, 24 * time.Hour},
		"too long for proto": {&durationpb.Duration{Seconds: 315_576_000_001}, 0},
		"2^63-1 s":           {&durationpb.Duration{Seconds: math.MaxInt64}, 0},
		"-2^63 s":            {&durationpb.Duration{Seconds: math.MinInt64}, 0},
		"2^31-1 ns":          {&durationpb.Duration{Seconds: 3600, Nanos: math.MaxInt32}, 0},
		"signs that differ":  {&durationpb.Duration{Seconds: 3600, Nanos: -1}, 0},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r, err := client.Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, ""), Ttl: row.ttl})
			if row.life == 0 {
				require.Equal(t, codes.InvalidArgument, apitest.RequireRefused(t, ca.ReasonTTL, err).Code)
				return
			}
			require.NoError(t, err)
			now := s.Clock.Now().Truncate(time.Second)
			require.Equal(t, row.life, r.GetNotAfter().AsTime().Sub(now))
			require.LessOrEqual(t, now.Sub(r.GetNotBefore().AsTime()), row.life/10)
		})
	}
}

// TestNoLeafOutlivesItsIssuer, whatever is asked for.
func TestNoLeafOutlivesItsIssuer(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := newClient(t, s)
	end := s.CA.Intermediate.NotAfter()
	s.Clock.Advance(end.Sub(s.Clock.Now()) - time.Hour)
	r, err := client.Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
	require.NoError(t, err)
	require.Equal(t, end, r.GetNotAfter().AsTime())
	s.Clock.Advance(time.Hour - 4*time.Minute)
	_, err = client.Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
	require.Equal(t, codes.Unavailable, apitest.RequireRefused(t, ca.ReasonAuthorityExpired, err).Code)
}

func TestProfiles(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := newClient(t, s)
	for profile, reason := range map[string]ca.Reason{"": "", "workload": "", "short": "", "nobody": ca.ReasonProfile, "server": ca.ReasonPolicy} {
		_, err := client.Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, ""), Profile: profile})
		if reason == "" {
			require.NoError(t, err, profile)
			continue
		}
		apitest.RequireRefused(t, reason, err)
	}
}

// TestRenewLooksAtTheCertificateOnly: a token beside it, good, bad or of another,
// changes nothing; without a certificate no token helps.
func TestRenewLooksAtTheCertificateOnly(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, s.Certificate(t, "a")))
	for name, ctx := range map[string]context.Context{
		"no token": t.Context(), "its token": s.As(t, "a"), "another's token": s.As(t, "b"), "no token at all": apitest.Bearer(t, "x"),
	} {
		r, err := client.Renew(ctx, &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
		require.NoError(t, err, name)
		require.Equal(t, s.Identity("a"), r.GetIdentity())
		apitest.RequireLeaf(t, s.Identity("a"), r.GetCertificate(), r.GetChain(), s.CA.Bundle)
	}
	_, err := newClient(t, s).Renew(s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
	apitest.RequireRefused(t, ca.ReasonNoCredentials, err)
}

// TestAKeyBelongsToOneIdentity: a CSR of another, sent on, gets nothing, not
// even under the sender's own name.
func TestAKeyBelongsToOneIdentity(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := newClient(t, s)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	_, err := client.Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: catest.CSR(t, key, "")})
	require.NoError(t, err)
	_, err = client.Issue(s.As(t, "b"), &kedgev1.IssueRequest{Csr: catest.CSR(t, key, "")})
	apitest.RequireRefused(t, ca.ReasonKeyReused, err)
	_, err = client.Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: catest.CSR(t, key, "")})
	require.NoError(t, err, "Linkerd's proxies keep their key")
}

func TestAnchorsArePublic(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	bundle, err := newClient(t, s).GetBundle(t.Context(), &kedgev1.GetBundleRequest{})
	require.NoError(t, err)
	requireBundle(t, s.CA.Bundle, bundle)
}
