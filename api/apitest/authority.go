package apitest

import (
	"crypto/x509"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// ServerName is what clients verify in the server's certificate.
const ServerName = "127.0.0.1"

// serverPath is the identity of the server's own certificate.
const serverPath = "/kedge/ca"

// newCA is an authority for cluster.local whose certificates are valid now: a
// TLS handshake asks the machine's clock, not the test's.
func newCA(t testing.TB, clock *authntest.Clock) *catest.CA {
	t.Helper()
	policy, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	domain, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	c := &catest.CA{Domain: domain, FIPS: policy, Recorder: &catest.Recorder{}, Clock: catest.NewClock()}
	c.Clock.Advance(clock.Now().Sub(catest.Start))
	c.RootKey = catest.GenerateKey(t, fips.ECDSAP256)
	c.Root = newRoot(t, c)
	standby := &catest.CA{Domain: domain, FIPS: policy, Clock: c.Clock, RootKey: catest.GenerateKey(t, fips.ECDSAP256)}
	c.Standby = newRoot(t, standby)
	c.Bundle = newBundle(t, c, 1)
	c.Intermediate = c.NewIntermediate(t, catest.GenerateKey(t, fips.ECDSAP256))
	c.Authority, err = ca.NewAuthority(ca.AuthorityConfig{
		FIPS: policy, Policy: newPolicy(t, domain), Recorder: c.Recorder, Now: clock.Now,
	})
	require.NoError(t, err)
	_, err = c.Authority.Swap(c.Intermediate, c.Bundle)
	require.NoError(t, err)
	return c
}

func newRoot(t testing.TB, c *catest.CA) *x509.Certificate {
	t.Helper()
	now := c.Clock.Now()
	root, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: c.Domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.RootLifetime),
		Signer: c.RootKey, Policy: c.FIPS,
	})
	require.NoError(t, err)
	return root
}

func newBundle(t testing.TB, c *catest.CA, seq uint64) *ca.Bundle {
	t.Helper()
	bundle, err := ca.NewBundle(c.Domain, seq, []ca.Anchor{
		{Certificate: c.Root, Slot: ca.SlotActive}, {Certificate: c.Standby, Slot: ca.SlotStandby},
	})
	require.NoError(t, err)
	return bundle
}

// newPolicy grants every workload the profile workload, or on request the
// profile short of an hour, and this process its server certificate.
func newPolicy(t testing.TB, domain ca.TrustDomain) *ca.Policy {
	t.Helper()
	var profiles []*ca.Profile
	for _, c := range []ca.ProfileConfig{
		{Name: "workload"},
		{Name: "short", DefaultTTL: time.Hour, MaxTTL: time.Hour},
		{Name: "server", ServerOnly: true, Addresses: []netip.Addr{netip.MustParseAddr(ServerName)}},
	} {
		p, err := ca.NewProfile(c)
		require.NoError(t, err)
		profiles = append(profiles, p)
	}
	policy, err := ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: domain, Profiles: profiles,
		Rules: []ca.RuleConfig{
			{Name: "this server", Methods: []ca.Method{ca.MethodLocal}, Identities: []string{domain.URI() + serverPath}, Profile: "server"},
			{Name: "every workload", Profile: "workload"},
			{Name: "every workload, shorter", Profile: "short"},
		},
	})
	require.NoError(t, err)
	return policy
}

// Rotate replaces root, intermediate and bundle: the anchors from before are
// distrusted at once, as after a compromise.
func (s *Server) Rotate(t testing.TB) {
	t.Helper()
	s.CA.RootKey = catest.GenerateKey(t, fips.ECDSAP256)
	s.CA.Root = newRoot(t, s.CA)
	s.swap(t)
}

// Republish puts the next bundle in force, with a new standby anchor.
func (s *Server) Republish(t testing.TB) *ca.Bundle {
	t.Helper()
	fresh := &catest.CA{Domain: s.CA.Domain, FIPS: s.CA.FIPS, Clock: s.CA.Clock, RootKey: catest.GenerateKey(t, fips.ECDSAP256)}
	s.CA.Standby = newRoot(t, fresh)
	s.swap(t)
	return s.CA.Bundle
}

func (s *Server) swap(t testing.TB) {
	t.Helper()
	s.CA.Bundle = newBundle(t, s.CA, s.CA.Bundle.Sequence()+1)
	s.CA.Intermediate = s.CA.NewIntermediate(t, catest.GenerateKey(t, fips.ECDSAP256))
	_, err := s.CA.Authority.Swap(s.CA.Intermediate, s.CA.Bundle)
	require.NoError(t, err)
}
