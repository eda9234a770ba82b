package ca_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// holders is an authority whose profiles are for holders of each class.
type holders struct {
	*catest.CA
	t testing.TB
}

func newHolders(t testing.TB) holders {
	t.Helper()
	h := holders{catest.New(t), t}
	h.Authority.SetPolicy(holdersPolicy(t, h.Domain))
	return h
}

func holdersPolicy(t testing.TB, domain ca.TrustDomain) *ca.Policy {
	t.Helper()
	renewing, err := ca.NewProfile(ca.ProfileConfig{Name: "workload"})
	require.NoError(t, err)
	restarting, err := ca.NewProfile(ca.ProfileConfig{Name: "linkerd", Verifiers: ca.ClassRestart})
	require.NoError(t, err)
	named, err := ca.NewProfile(ca.ProfileConfig{Name: "named", AccountDomain: accounts})
	require.NoError(t, err)
	policy, err := ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: domain, Profiles: []*ca.Profile{renewing, restarting, named},
		Rules: []ca.RuleConfig{
			{Name: "this server", Methods: []ca.Method{ca.MethodLocal}, Profile: "workload"},
			{Name: "workload", Profile: "workload"}, {Name: "linkerd", Profile: "linkerd"}, {Name: "named", Profile: "named"},
		},
	})
	require.NoError(t, err)
	return policy
}

// issue has the authority issue for ttl by evidence, with a key of its own.
func (h holders) issue(profile string, ttl time.Duration, evidence ca.Evidence) ca.Issued {
	h.t.Helper()
	issued, err := h.tryIssue(h.t.Context(), profile, ttl, evidence)
	require.NoError(h.t, err)
	return issued
}

func (h holders) tryIssue(ctx context.Context, profile string, ttl time.Duration, evidence ca.Evidence) (ca.Issued, error) {
	csr := catest.CSR(h.t, catest.GenerateKey(h.t, fips.ECDSAP256), "")
	r, err := ca.ParseRequest(csr, ca.RequestOptions{Now: h.Clock.Now(), TTL: ttl, Profile: profile}, h.FIPS)
	require.NoError(h.t, err)
	caller, err := ca.NewCaller(h.Caller(h.t, "web").Identity(), evidence)
	require.NoError(h.t, err)
	return h.Authority.Issue(ctx, caller, r)
}

// renew is a renewal by the certificate of issued.
func (h holders) renew(issued ca.Issued) ca.Issued {
	h.t.Helper()
	return h.issue("workload", 0, ca.Evidence{Method: ca.MethodCertificate, Subject: issued.Serial})
}

var byToken = ca.Evidence{Method: ca.MethodKubernetes}

// adopt puts the next bundle in force, and an intermediate under anchor active.
func (h holders) adopt(sequence uint64) {
	h.t.Helper()
	bundle, err := ca.NewBundle(h.Domain, sequence, h.Bundle.Anchors())
	require.NoError(h.t, err)
	_, err = h.Authority.Swap(h.Authority.Intermediate(), bundle)
	require.NoError(h.t, err)
}

func (h holders) outstanding() ca.Outstanding {
	h.t.Helper()
	got := h.Authority.Outstanding(h.Clock.Now())
	requireRemembered(h, got)
	return got
}

// requireRemembered has another authority learn from the records what h knows.
func requireRemembered(h holders, want ca.Outstanding) {
	h.t.Helper()
	fresh, err := ca.NewAuthority(ca.AuthorityConfig{
		FIPS: h.FIPS, Policy: holdersPolicy(h.t, h.Domain), Recorder: &catest.Recorder{}, Now: h.Clock.Now,
	})
	require.NoError(h.t, err)
	for _, r := range h.Recorder.Records() {
		if r.VoidedReason == "" && r.NotAfter.After(h.Clock.Now()) {
			fresh.Remember(r.LiveKey())
		}
	}
	_, err = fresh.Swap(h.Authority.Intermediate(), h.Authority.Bundle())
	require.NoError(h.t, err)
	require.Equal(h.t, want, fresh.Outstanding(h.Clock.Now()), "after a restart")
}

func TestNothingIsOutstandingBeforeTheFirstLeaf(t *testing.T) {
	h := newHolders(t)
	require.Equal(t, ca.Outstanding{
		Coverage: map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: 1}},
		Live:     map[ca.AnchorID]int{}, HighWater: map[ca.AnchorID]time.Time{},
	}, h.outstanding())
}

func TestHoldersAreBehindUntilTheirLeafEnds(t *testing.T) {
	h := newHolders(t)
	anchor := ca.AnchorIDOf(h.Root)
	short := h.issue("workload", 10*time.Minute, byToken)
	long := h.issue("workload", 20*time.Minute, byToken)
	require.Equal(t, ca.Coverage{Sequence: 1, Live: 2}, h.outstanding().Coverage[ca.ClassRenewal])

	h.adopt(3)
	fresh := h.issue("workload", 0, byToken)
	require.Equal(t, ca.Outstanding{
		Coverage:  map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: 1, Live: 3, Behind: 2, Oldest: long.NotAfter}},
		Live:      map[ca.AnchorID]int{anchor: 3},
		HighWater: map[ca.AnchorID]time.Time{anchor: fresh.NotAfter},
	}, h.outstanding())

	h.Clock.Advance(short.NotAfter.Sub(h.Clock.Now()))
	require.Equal(t, ca.Coverage{Sequence: 1, Live: 2, Behind: 1, Oldest: long.NotAfter}, h.outstanding().Coverage[ca.ClassRenewal])
	h.Clock.Advance(long.NotAfter.Sub(h.Clock.Now()))
	require.Equal(t, ca.Coverage{Sequence: 3, Live: 1}, h.outstanding().Coverage[ca.ClassRenewal])
	h.Clock.Advance(fresh.NotAfter.Sub(h.Clock.Now()))
	require.Empty(t, h.outstanding().Live)
	require.Empty(t, h.outstanding().HighWater)
}

func TestALeafIsCountedUntilItEnds(t *testing.T) {
	h := newHolders(t)
	h.Clock.Advance(17 * time.Second)
	issued := h.issue("workload", 10*time.Minute, byToken)
	h.Clock.Advance(issued.NotAfter.Sub(h.Clock.Now()) - time.Nanosecond)
	require.Equal(t, 1, h.Authority.Outstanding(h.Clock.Now()).Live[ca.AnchorIDOf(h.Root)])
	require.Equal(t, issued.NotAfter, h.Authority.Outstanding(h.Clock.Now()).HighWater[ca.AnchorIDOf(h.Root)])
	h.Clock.Advance(time.Minute)
	require.Empty(t, h.Authority.Outstanding(h.Clock.Now()).Live)
}

// TestARenewalCountsOnceItArrived: the answer to a renewal can be lost, and its
// holder goes on with the leaf and the bundle that it has.
func TestARenewalCountsOnceItArrived(t *testing.T) {
	h := newHolders(t)
	first := h.issue("workload", 0, byToken)
	h.adopt(2)
	lost := h.renew(first)
	require.Equal(t, 1, h.outstanding().Coverage[ca.ClassRenewal].Behind, "nobody knows that it arrived")
	second := h.renew(first)
	require.Equal(t, 1, h.outstanding().Coverage[ca.ClassRenewal].Behind, "it had not")
	h.renew(second)
	require.Equal(t, ca.Coverage{Sequence: 2, Live: 3}, h.outstanding().Coverage[ca.ClassRenewal])
	anchor := ca.AnchorIDOf(h.Root)
	require.Equal(t, 4, h.outstanding().Live[anchor], "the first lives on all the same")
	require.False(t, h.outstanding().HighWater[anchor].Before(lost.NotAfter))

	h.renew(second)
	require.Equal(t, 4, h.outstanding().Coverage[ca.ClassRenewal].Live, "shown twice, it supersedes once")
}

func TestARenewalByACertificateOfAnotherReplicaSupersedesNothing(t *testing.T) {
	h := newHolders(t)
	h.issue("workload", 0, byToken)
	h.adopt(2)
	h.issue("workload", 0, ca.Evidence{Method: ca.MethodCertificate, Subject: "00112233445566778899aabbccddeeff"})
	h.issue("workload", 0, ca.Evidence{Method: ca.MethodCertificate, Subject: "not a serial"})
	require.Equal(t, 1, h.outstanding().Coverage[ca.ClassRenewal].Behind)
	require.Equal(t, 3, h.outstanding().Coverage[ca.ClassRenewal].Live)
}

// TestHoldersThatReadAnchorsAtTheirStartAreNotCoveredByALeaf: a certificate brings
// them no bundle, and waiting proves nothing of them.
func TestHoldersThatReadAnchorsAtTheirStartAreNotCoveredByALeaf(t *testing.T) {
	h := newHolders(t)
	h.issue("linkerd", 0, byToken)
	h.issue("named", 0, byToken) // as Linkerd's door does
	h.issue("workload", 0, byToken)
	got := h.outstanding()
	require.Equal(t, map[ca.VerifierClass]ca.Coverage{
		ca.ClassRenewal: {Sequence: 1, Live: 1}, ca.ClassRestart: {Live: 2, Behind: 2},
	}, got.Coverage)
	require.Equal(t, 3, got.Live[ca.AnchorIDOf(h.Root)])
}

func TestALeafOfAProfileThatIsGoneMayBeOfEitherClass(t *testing.T) {
	h := newHolders(t)
	key := ca.LiveKey{Serial: "00112233445566778899aabbccddeeff", Profile: "gone", Method: ca.MethodKubernetes, BundleSeq: 1, NotAfter: catest.Start.Add(time.Hour)}
	h.Authority.Remember(key)
	require.Equal(t, ca.Coverage{Live: 1, Behind: 1}, h.Authority.Outstanding(h.Clock.Now()).Coverage[ca.ClassRestart])
}

func TestOurOwnLeafSaysNothingOfAVerifier(t *testing.T) {
	h := newHolders(t)
	own := h.issue("workload", 0, ca.Evidence{Method: ca.MethodLocal})
	h.adopt(2)
	got := h.outstanding()
	require.Equal(t, ca.Coverage{Sequence: 2}, got.Coverage[ca.ClassRenewal])
	require.Equal(t, own.NotAfter, got.HighWater[ca.AnchorIDOf(h.Root)])
}

// watchedSigner looks at the world when it is asked to sign.
type watchedSigner struct {
	crypto.Signer
	look func()
}

func (s watchedSigner) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	s.look()
	return s.Signer.Sign(random, digest, o)
}

func TestALeafIsCountedAfterItsRecordAndBeforeItsSignature(t *testing.T) {
	h := newHolders(t)
	anchor, seen := ca.AnchorIDOf(h.Root), 0
	count := func() int { return h.Authority.Outstanding(h.Clock.Now()).Live[anchor] }
	h.Recorder.Fail = func(ca.Record) error {
		require.Zero(t, count())
		return nil
	}
	signer := watchedSigner{catest.GenerateKey(t, fips.ECDSAP256), func() {}}
	signer.look = func() { seen = count() }
	i, err := ca.NewIntermediate(ca.IntermediateConfig{
		Chain: h.NewIntermediate(t, signer.Signer).Chain(), Bundle: h.Bundle, Signer: signer, Policy: h.FIPS,
	})
	require.NoError(t, err)
	_, err = h.Authority.Swap(i, h.Bundle)
	require.NoError(t, err)
	h.issue("workload", 0, byToken)
	require.Equal(t, 1, seen)

	h.Recorder.Fail = func(ca.Record) error { return errors.New("disk full") }
	_, err = h.tryIssue(t.Context(), "workload", 0, byToken)
	require.Error(t, err)
	require.Equal(t, 1, count(), "what has no record is not signed")
}

// underStandby is an intermediate under the standby anchor.
func (h holders) underStandby() *ca.Intermediate {
	h.t.Helper()
	other := *h.CA
	other.Root, other.RootKey = h.Standby, h.StandbyKey
	return other.NewIntermediate(h.t, catest.GenerateKey(h.t, fips.ECDSAP256))
}

// TestRequestsInFlightCountUntilTheyAreOver: a request that took its snapshot before
// the signer and the bundle were changed gives out a leaf of the old ones afterwards.
func TestRequestsInFlightCountUntilTheyAreOver(t *testing.T) {
	h := newHolders(t)
	old := ca.AnchorIDOf(h.Root)
	begun, goOn := make(chan struct{}), make(chan struct{})
	h.Recorder.Fail = func(ca.Record) error {
		close(begun)
		<-goOn
		return nil
	}
	done := make(chan ca.Issued)
	go func() {
		issued, err := h.tryIssue(context.WithoutCancel(t.Context()), "workload", time.Hour, byToken)
		if err != nil {
			t.Error(err)
		}
		done <- issued
	}()
	<-begun
	bundle, err := ca.NewBundle(h.Domain, 2, h.Bundle.Anchors())
	require.NoError(t, err)
	_, err = h.Authority.Swap(h.underStandby(), bundle)
	require.NoError(t, err)
	h.Authority.Halt("another snapshot between")
	h.Authority.Halt("")

	during := h.Authority.Outstanding(h.Clock.Now())
	bound := h.Clock.Now().Add(ca.MaxLeafTTL + time.Minute)
	require.Equal(t, ca.Outstanding{
		Coverage:  map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: 1, Live: 1, Behind: 1, Oldest: bound}},
		Live:      map[ca.AnchorID]int{old: 1},
		HighWater: map[ca.AnchorID]time.Time{old: bound},
	}, during)

	close(goOn)
	issued := <-done
	after := h.Authority.Outstanding(h.Clock.Now())
	require.Equal(t, map[ca.AnchorID]time.Time{old: issued.NotAfter}, after.HighWater)
	require.Equal(t, map[ca.AnchorID]int{old: 1}, after.Live)
}

// TestNoLeafEscapesWhatWasReported: once a replica has said that all hold bundle 2, no
// request that it answers brings bundle 1, however the two met.
func TestNoLeafEscapesWhatWasReported(t *testing.T) {
	h := newHolders(t)
	request := h.Request(t, catest.GenerateKey(t, fips.ECDSAP256), "")
	second, err := ca.NewBundle(h.Domain, 2, h.Bundle.Anchors())
	require.NoError(t, err)
	for range 500 {
		a, err := ca.NewAuthority(ca.AuthorityConfig{
			FIPS: h.FIPS, Policy: holdersPolicy(t, h.Domain), Recorder: &catest.Recorder{}, Now: h.Clock.Now,
		})
		require.NoError(t, err)
		_, err = a.Swap(h.Intermediate, h.Bundle)
		require.NoError(t, err)
		answered := make(chan ca.Issued, 1)
		go func() {
			issued, err := a.Issue(context.WithoutCancel(t.Context()), h.Caller(t, "web"), request)
			if err != nil {
				t.Error(err)
			}
			answered <- issued
		}()
		runtime.Gosched()
		_, err = a.Swap(h.Intermediate, second)
		require.NoError(t, err)
		reported := a.Outstanding(h.Clock.Now()).Coverage[ca.ClassRenewal].Sequence
		require.LessOrEqual(t, reported, (<-answered).Bundle.Sequence())
	}
}

func TestEvidenceTakesLittleMemory(t *testing.T) {
	const leaves, limit = 100_000, 10 << 20
	h := newHolders(t)
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	keys := make([]ca.LiveKey, leaves)
	for i := range keys {
		serial := [16]byte{}
		require.NoError(t, fips.Random(serial[:]))
		keys[i] = ca.LiveKey{
			// One key for all, so that what is remembered of keys does not count here.
			Serial: fmt.Sprintf("%x", serial), Profile: "workload", Method: ca.MethodKubernetes,
			BundleSeq: uint64(i%5 + 1), NotAfter: catest.Start.Add(time.Duration(i%86_400) * time.Second),
		}
	}
	before := used()
	for _, key := range keys {
		h.Authority.Remember(key)
	}
	grown := int64(used() - before)
	runtime.KeepAlive(keys)
	require.NotEmpty(t, h.Authority.Outstanding(h.Clock.Now()).Live)
	require.Less(t, grown, int64(limit), "bytes for %d live leaves", leaves)
	t.Logf("%d bytes for %d live leaves", grown, leaves)
}
