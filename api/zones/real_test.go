package zones_test

import (
	"context"
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/keystore/memory"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	realprimary "github.com/kedge-ca/kedge/rotation/primary"
	realreplica "github.com/kedge-ca/kedge/rotation/replica"
)

// process is what a replica is made of, over stores in memory.
type process struct {
	custodian *ca.Custodian
	authority *ca.Authority
	keys      ca.KeyStore
	busy      sync.Mutex
}

func newProcess(t *testing.T, site *apitest.Server, roots ca.RootFor) *process {
	t.Helper()
	keys, err := memory.New(fips.ECDSAP256)
	require.NoError(t, err)
	p := &process{keys: keys}
	p.custodian, err = ca.NewCustodian(ca.CustodianConfig{
		TrustDomain: site.CA.Domain, Roots: roots, Keys: keys, State: &catest.StateStore{}, Events: &catest.Events{}, Policy: site.CA.FIPS,
	})
	require.NoError(t, err)
	p.authority, err = ca.NewAuthority(ca.AuthorityConfig{
		FIPS: site.CA.FIPS, Policy: catest.WorkloadPolicy(t, site.CA.Domain), Recorder: &catest.Recorder{}, Now: time.Now,
	})
	require.NoError(t, err)
	return p
}

// upkeep puts in force what the custodian has.
func (p *process) upkeep(ctx context.Context) error {
	p.busy.Lock()
	defer p.busy.Unlock()
	supply, err := p.custodian.Tick(ctx, time.Now(), false)
	if err != nil {
		return err
	}
	_, err = p.authority.Swap(supply.Intermediate, supply.Bundle)
	return err
}

// TestZoneFollowsARealPrimary is everything but ca serve: the primary of package
// rotation/primary, its wire, and a follower over real stores.
func TestZoneFollowsARealPrimary(t *testing.T) {
	site := apitest.New(t, apitest.Options{})
	next := apitest.New(t, apitest.Options{}).CA // of the same trust domain
	root, standby := signing{site.CA}, signing{next}
	own := newProcess(t, site, ca.OneOf(root))
	require.NoError(t, own.custodian.Initialise(t.Context(), time.Now(), []ca.Anchor{{Certificate: site.CA.Root, Slot: ca.SlotActive}}))
	p, err := realprimary.Open(t.Context(), realprimary.Config{
		TrustDomain: site.CA.Domain, Documents: &catest.Documents{}, Custodian: own.custodian, Roots: ca.OneOf(root, standby), Keys: own.keys,
		Events: &catest.Events{}, Policy: site.CA.FIPS, Zone: "primary", Replica: "p", Version: "1", Now: time.Now,
	})
	require.NoError(t, err)
	w := &world{own: certificate(t, site, "/kedge/ca"), address: "127.0.0.1:0", real: p, fake: &fake{site: site}}
	w.serve(t)

	token, err := p.Token(t.Context(), "eu-1", time.Minute, "uid:0")
	require.NoError(t, err)
	r := w.newReplica(t)
	m, err := r.join("a", token)
	require.NoError(t, err)
	r.held = m.Bundle
	var z *process
	r.c.Held = func(ctx context.Context) (*ca.Bundle, error) {
		held, err := z.custodian.Held(ctx)
		return held.Bundle, err
	}
	c := r.client()
	z = newProcess(t, site, c.RootFor)
	signed, err := realprimary.Encode(m.Signed)
	require.NoError(t, err)
	require.NoError(t, z.custodian.Enrol(t.Context(), time.Now(), ca.Adoption{Bundle: m.Bundle.Bundle(), Signed: signed}))
	f, err := realreplica.New(realreplica.Config{
		Zone: m.Zone, Replica: "a", Version: "1", Source: c, Custodian: z.custodian, Authority: z.authority, Upkeep: z.upkeep, Now: time.Now,
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	require.NoError(t, z.upkeep(t.Context()))
	require.NoError(t, z.authority.Ready(time.Now()))

	soon := func(what func() bool) {
		t.Helper()
		require.Eventually(t, what, 20*time.Second, 10*time.Millisecond)
	}
	require.NoError(t, p.Halt(t.Context(), "uid:0", "compromise"))
	soon(func() bool { return ca.ReasonOf(z.authority.Ready(time.Now())) == ca.ReasonHalted })
	require.NoError(t, p.Resume(t.Context(), "uid:0"))
	soon(func() bool { return z.authority.Ready(time.Now()) == nil })

	require.NoError(t, p.Report(t.Context(), rotation.Report{Zone: "primary", Replica: "p", Sequence: 1}), "nothing is published before every replica was heard")
	require.NoError(t, p.AddStandby(t.Context(), ca.AnchorIDOf(next.Root), "uid:0"))
	soon(func() bool { return z.authority.Bundle().Contains(ca.AnchorIDOf(next.Root)) })

	require.NoError(t, p.RemoveZone(t.Context(), "eu-1", "uid:0", "closed"))
	soon(func() bool { return ca.ReasonOf(c.Report(t.Context(), reportOf(t, f))) == ca.ReasonZoneRemoved })
	require.NoError(t, z.authority.Ready(time.Now()), "what it has issues until its end")
}

func reportOf(t *testing.T, f *realreplica.Follower) rotation.Report {
	t.Helper()
	r, err := f.Look(t.Context())
	require.NoError(t, err)
	return r
}

// signing is the root of an authority in memory.
type signing struct{ c *catest.CA }

func (s signing) Anchor(context.Context) (*x509.Certificate, error) { return s.c.Root, nil }

func (s signing) SignIntermediate(_ context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{Anchor: s.c.Root, AnchorSigner: s.c.RootKey, CSR: csr, Policy: s.c.FIPS, Request: p})
	return []*x509.Certificate{cert}, err
}
