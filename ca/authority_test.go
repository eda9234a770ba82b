package ca_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

func issue(t *testing.T, c *catest.CA, name string) (ca.Issued, error) {
	t.Helper()
	key := catest.GenerateKey(t, fips.ECDSAP256)
	return c.Authority.Issue(t.Context(), c.Caller(t, name), c.Request(t, key, "spiffe://cluster.local/ns/default/sa/"+name))
}

func TestIssuedLeafVerifiesAgainstTheBundleThatComesWithIt(t *testing.T) {
	for _, kt := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(kt), func(t *testing.T) {
			c := catest.NewWithKeys(t, kt)
			issued, err := issue(t, c, "web")
			require.NoError(t, err)
			leaf, err := x509.ParseCertificate(issued.Leaf)
			require.NoError(t, err)
			between := x509.NewCertPool()
			for _, der := range issued.Chain {
				link, err := x509.ParseCertificate(der)
				require.NoError(t, err)
				between.AddCert(link)
			}
			_, err = leaf.Verify(x509.VerifyOptions{
				Roots: issued.Bundle.Pool(), Intermediates: between, CurrentTime: catest.Start,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			})
			require.NoError(t, err)
			require.Equal(t, ownURI, leaf.URIs[0].String())
			require.Equal(t, issued.NotAfter, leaf.NotAfter)
			require.True(t, issued.RenewAt.After(catest.Start.Add(9*time.Hour)) && issued.RenewAt.Before(catest.Start.Add(17*time.Hour)), issued.RenewAt)
		})
	}
}

func TestRecordIsCompleteAndComesBeforeTheSignature(t *testing.T) {
	c := catest.New(t)
	issued, err := issue(t, c, "web")
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(issued.Leaf)
	require.NoError(t, err)
	records := c.Recorder.Records()
	require.Len(t, records, 1)
	r := records[0]
	require.Equal(t, hex.EncodeToString(leaf.SerialNumber.Bytes()), r.Serial)
	require.Equal(t, ownURI, r.Identity)
	require.Equal(t, ca.MethodKubernetes, r.Evidence.Method)
	require.Equal(t, "workload", r.Profile)
	require.Equal(t, leaf.NotAfter, r.NotAfter)
	require.Equal(t, leaf.NotBefore, r.NotBefore)
	require.EqualValues(t, 1, r.BundleSeq)
	require.Equal(t, c.Intermediate.KeyID(), r.Issuer)
	require.Equal(t, ca.AnchorIDOf(c.Root), r.Anchor)
}

func TestNothingIsReleasedWithoutARecord(t *testing.T) {
	c := catest.New(t)
	c.Recorder.Fail = func(ca.Record) error { return errors.New("disk is full") }
	issued, err := issue(t, c, "web")
	require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(err))
	require.Empty(t, issued.Leaf)
}

// brokenSigner returns what another key signed, as a faulty HSM might.
type brokenSigner struct {
	crypto.Signer
	other crypto.Signer
}

func (b brokenSigner) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	return b.other.Sign(r, digest, o)
}

func TestWrongSignatureNeverLeavesAndVoidsTheRecord(t *testing.T) {
	c := catest.New(t)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	broken := c.NewIntermediate(t, key)
	chain := broken.Chain()
	broken, err := ca.NewIntermediate(ca.IntermediateConfig{
		Chain: chain, Bundle: c.Bundle, Policy: c.FIPS,
		Signer: brokenSigner{key, catest.GenerateKey(t, fips.ECDSAP256)},
	})
	require.NoError(t, err)
	_, err = c.Authority.Swap(broken, c.Bundle)
	require.NoError(t, err)

	issued, err := issue(t, c, "web")
	require.Equal(t, ca.ReasonSigningFailed, ca.ReasonOf(err))
	require.ErrorIs(t, err, fips.ErrSignatureFault)
	require.Empty(t, issued.Leaf)
	require.Equal(t, string(ca.ReasonSigningFailed), c.Recorder.Records()[0].VoidedReason)
}

func TestNamesComeFromTheCallerOnly(t *testing.T) {
	c := catest.New(t)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	_, err := c.Authority.Issue(t.Context(), c.Caller(t, "web"), c.Request(t, key, "spiffe://cluster.local/ns/default/sa/victim"))
	require.Equal(t, ca.ReasonCSRIdentity, ca.ReasonOf(err))

	issued, err := c.Authority.Issue(t.Context(), c.Caller(t, "web"), c.Request(t, key, ""))
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(issued.Leaf)
	require.NoError(t, err)
	require.Equal(t, ownURI, leaf.URIs[0].String())
}

func TestKeyHasOneOwner(t *testing.T) {
	c := catest.New(t)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	req := c.Request(t, key, "")
	_, err := c.Authority.Issue(t.Context(), c.Caller(t, "a"), req)
	require.NoError(t, err)
	_, err = c.Authority.Issue(t.Context(), c.Caller(t, "a"), req)
	require.NoError(t, err, "the same identity may bring its key again")
	_, err = c.Authority.Issue(t.Context(), c.Caller(t, "b"), req)
	require.Equal(t, ca.ReasonKeyReused, ca.ReasonOf(err))
	c.Clock.Advance(25 * time.Hour)
	_, err = c.Authority.Issue(t.Context(), c.Caller(t, "b"), req)
	require.NoError(t, err, "the key is free once its last certificate has expired")
}

func TestKeyOfACAIsRefused(t *testing.T) {
	c := catest.New(t)
	_, err := c.Authority.Issue(t.Context(), c.Caller(t, "web"), c.Request(t, c.RootKey, ""))
	require.Equal(t, ca.ReasonKeyOfCA, ca.ReasonOf(err))
}

func TestLeafNeverOutlivesItsChain(t *testing.T) {
	c := catest.New(t)
	c.Clock.Advance(7*24*time.Hour - 2*time.Hour)
	issued, err := issue(t, c, "a")
	require.NoError(t, err)
	require.Equal(t, c.Intermediate.NotAfter(), issued.NotAfter)
	c.Clock.Advance(2*time.Hour - 4*time.Minute)
	_, err = issue(t, c, "b")
	require.Equal(t, ca.ReasonAuthorityExpired, ca.ReasonOf(err))
	require.Equal(t, ca.ReasonAuthorityExpired, ca.ReasonOf(c.Authority.Ready(c.Clock.Now())))
}

func TestBackdateIsWithinATenth(t *testing.T) {
	c := catest.New(t)
	for _, ttl := range []time.Duration{5 * time.Minute, 301 * time.Second, 19 * time.Minute, time.Hour, 24 * time.Hour} {
		c.Clock.Advance(1234567 * time.Microsecond)
		key := catest.GenerateKey(t, fips.ECDSAP256)
		r, err := ca.ParseRequest(catest.CSR(t, key, ""), ca.RequestOptions{Now: c.Clock.Now(), TTL: ttl}, c.FIPS)
		require.NoError(t, err)
		issued, err := c.Authority.Issue(t.Context(), c.Caller(t, "web"), r)
		require.NoError(t, err)
		second := c.Clock.Now().Truncate(time.Second)
		require.LessOrEqual(t, second.Sub(issued.NotBefore), issued.NotAfter.Sub(second)/10)
	}
}

func TestClockOutsideTheIntermediateIsNotReady(t *testing.T) {
	c := catest.New(t)
	for _, at := range []time.Time{time.Unix(-1, 0), time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)} {
		require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(c.Authority.Ready(at)), at)
	}
	for _, at := range []time.Time{time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)} {
		require.Equal(t, ca.ReasonAuthorityExpired, ca.ReasonOf(c.Authority.Ready(at)), at)
	}
}

func TestGateStopsIssuance(t *testing.T) {
	c := catest.New(t)
	failed := errors.New("self-test failed")
	a, err := ca.NewAuthority(ca.AuthorityConfig{
		FIPS: c.FIPS, Policy: catest.WorkloadPolicy(t, c.Domain), Recorder: c.Recorder, Now: c.Clock.Now,
		Gate: func() error { return failed },
	})
	require.NoError(t, err)
	_, err = a.Swap(c.Intermediate, c.Bundle)
	require.NoError(t, err)
	_, err = a.Issue(t.Context(), c.Caller(t, "web"), c.Request(t, catest.GenerateKey(t, fips.ECDSAP256), ""))
	require.Equal(t, ca.ReasonFIPS, ca.ReasonOf(err))
	require.ErrorIs(t, err, failed)
}

// TestSwapDuringRequestsGivesEachRequestOneSnapshot runs under -race: every
// answer is whole, whatever is swapped meanwhile, and no serial comes twice.
func TestSwapDuringRequestsGivesEachRequestOneSnapshot(t *testing.T) {
	c := catest.New(t)
	other := c.NewIntermediate(t, catest.GenerateKey(t, fips.ECDSAP256))
	ctx, cancel := context.WithCancel(t.Context())
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			next := other
			if i%2 == 0 {
				next = c.Intermediate
			}
			if _, err := c.Authority.Swap(next, c.Bundle); err != nil {
				t.Error(err)
			}
			c.Authority.SetPolicy(catest.WorkloadPolicy(t, c.Domain))
		}
	})
	key := catest.GenerateKey(t, fips.ECDSAP256)
	req, caller := c.Request(t, key, ""), c.Caller(t, "web")
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 50 {
				issued, err := c.Authority.Issue(ctx, caller, req)
				if err != nil {
					t.Error(err)
					return
				}
				leaf, err := x509.ParseCertificate(issued.Leaf)
				if err == nil {
					err = leaf.CheckSignatureFrom(issued.Intermediate.Certificate())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	cancel()
	swapper.Wait()
	serials := make(map[string]bool)
	for _, r := range c.Recorder.Records() {
		require.False(t, serials[r.Serial])
		serials[r.Serial] = true
	}
	require.Len(t, serials, 200)
}

func TestBundleNeverGoesBack(t *testing.T) {
	c := catest.New(t)
	newer, err := ca.NewBundle(c.Domain, 2, c.Bundle.Anchors())
	require.NoError(t, err)
	changed := c.Authority.BundleChanged()
	_, err = c.Authority.Swap(c.Intermediate, newer)
	require.NoError(t, err)
	<-changed
	_, err = c.Authority.Swap(c.Intermediate, c.Bundle)
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err))
	require.EqualValues(t, 2, c.Authority.Bundle().Sequence())
}

func TestEveryReasonHasAClassAndASentence(t *testing.T) {
	for _, r := range ca.Reasons() {
		require.NotEmpty(t, r.Public(), r)
		if r != ca.ReasonInternal {
			require.NotEqual(t, ca.Internal, r.Class(), r)
		}
	}
	require.Equal(t, ca.ReasonInternal, ca.ReasonOf(errors.New("anything else")))
	require.Equal(t, ca.ReasonInternal.Public(), ca.Reason("made up").Public())
}
