package catest

import (
	"crypto"
	"crypto/x509"
	"net/url"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// Start is the moment at which every test authority begins.
var Start = time.Date(2026, time.November, 24, 12, 0, 0, 0, time.UTC)

// Clock is a clock that tests set.
type Clock struct{ now time.Time }

// NewClock starts at Start.
func NewClock() *Clock { return &Clock{now: Start} }

// Now is the time it was set to.
func (c *Clock) Now() time.Time { return c.now }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) { c.now = c.now.Add(d) }

// CA is an authority with everything it needs, in memory.
type CA struct {
	Authority    *ca.Authority
	Domain       ca.TrustDomain
	Bundle       *ca.Bundle
	Intermediate *ca.Intermediate
	Recorder     *Recorder
	Clock        *Clock
	FIPS         fips.Policy

	Root       *x509.Certificate
	RootKey    crypto.Signer
	Standby    *x509.Certificate
	StandbyKey crypto.Signer
}

// New makes a ready authority for cluster.local with P-256 keys and the profile
// "workload" for everyone.
func New(t testing.TB) *CA {
	t.Helper()
	return NewWithKeys(t, fips.ECDSAP256)
}

// NewWithKeys makes a ready authority whose root and intermediate have keys of
// type kt.
func NewWithKeys(t testing.TB, kt fips.KeyType) *CA {
	t.Helper()
	return NewFrom(t, Keys{Root: GenerateKey(t, kt), Standby: GenerateKey(t, kt), Intermediate: GenerateKey(t, kt)})
}

// Keys are the private keys of an authority.
type Keys struct{ Root, Standby, Intermediate crypto.Signer }

// NewFrom makes a ready authority with the given keys, for golden certificates.
func NewFrom(t testing.TB, keys Keys) *CA {
	t.Helper()
	policy, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	domain, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	c := &CA{Domain: domain, FIPS: policy, Clock: NewClock(), Recorder: &Recorder{}, RootKey: keys.Root, StandbyKey: keys.Standby}
	c.Root = RootCertificate(t, c, c.RootKey)
	c.Standby = RootCertificate(t, c, c.StandbyKey)
	c.Bundle, err = ca.NewBundle(domain, 1, []ca.Anchor{
		{Certificate: c.Root, Slot: ca.SlotActive}, {Certificate: c.Standby, Slot: ca.SlotStandby},
	})
	require.NoError(t, err)
	c.Intermediate = c.NewIntermediate(t, keys.Intermediate)
	c.Authority, err = ca.NewAuthority(ca.AuthorityConfig{
		FIPS: policy, Policy: WorkloadPolicy(t, domain), Recorder: c.Recorder, Now: c.Clock.Now,
	})
	require.NoError(t, err)
	_, err = c.Authority.Swap(c.Intermediate, c.Bundle)
	require.NoError(t, err)
	return c
}

// RootCertificate is a ten-year anchor of c's trust domain for key.
func RootCertificate(t testing.TB, c *CA, key crypto.Signer) *x509.Certificate {
	t.Helper()
	root, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: c.Domain, NotBefore: Start.Add(-ca.CABackdate), NotAfter: Start.Add(ca.RootLifetime),
		Signer: key, Policy: c.FIPS,
	})
	require.NoError(t, err)
	return root
}

// NewIntermediate is a new seven-day intermediate under c's root for key.
func (c *CA) NewIntermediate(t testing.TB, key crypto.Signer) *ca.Intermediate {
	t.Helper()
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	require.NoError(t, err)
	now := c.Clock.Now()
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{
		Anchor: c.Root, AnchorSigner: c.RootKey, CSR: csr, Policy: c.FIPS,
		Request: ca.IntermediateRequest{
			TrustDomain: c.Domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.IntermediateLifetime),
		},
	})
	require.NoError(t, err)
	i, err := ca.NewIntermediate(ca.IntermediateConfig{
		Chain: []*x509.Certificate{cert}, Bundle: c.Bundle, Signer: key, Policy: c.FIPS,
	})
	require.NoError(t, err)
	return i
}

// WorkloadPolicy grants every workload of domain the default profile.
func WorkloadPolicy(t testing.TB, domain ca.TrustDomain) *ca.Policy {
	t.Helper()
	profile, err := ca.NewProfile(ca.ProfileConfig{Name: "workload"})
	require.NoError(t, err)
	policy, err := ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: domain, Profiles: []*ca.Profile{profile},
		Rules: []ca.RuleConfig{{Name: "every workload", Profile: "workload"}},
	})
	require.NoError(t, err)
	return policy
}

// Caller is an authenticated service account ns/default/sa/<name>.
func (c *CA) Caller(t testing.TB, name string) ca.Caller {
	t.Helper()
	id, err := c.Domain.ServiceAccount("default", name)
	require.NoError(t, err)
	caller, err := ca.NewCaller(id, ca.Evidence{Method: ca.MethodKubernetes, Cluster: "test", Subject: "system:serviceaccount:default:" + name})
	require.NoError(t, err)
	return caller
}

// Request is a parsed request for key that names uri, or nothing if uri is "".
func (c *CA) Request(t testing.TB, key crypto.Signer, uri string) ca.Request {
	t.Helper()
	r, err := ca.ParseRequest(CSR(t, key, uri), ca.RequestOptions{Now: c.Clock.Now()}, c.FIPS)
	require.NoError(t, err)
	return r
}

// GenerateKey makes a key of type kt.
func GenerateKey(t testing.TB, kt fips.KeyType) crypto.Signer {
	t.Helper()
	key, err := fips.GenerateKey(kt)
	require.NoError(t, err)
	return key
}

// CSR is the DER of a request as Istio's and ztunnel's clients make it: no
// subject, and one URI SAN unless uri is "".
func CSR(t testing.TB, key crypto.Signer, uri string) []byte {
	t.Helper()
	template := &x509.CertificateRequest{}
	if uri != "" {
		u, err := url.Parse(uri)
		require.NoError(t, err)
		template.URIs = []*url.URL{u}
	}
	der, err := fips.CreateRequest(template, key)
	require.NoError(t, err)
	return der
}
