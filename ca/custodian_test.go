package ca_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// fakeRoot signs with a key in memory; err makes it unreachable, change alters
// what was asked for, as a root that cannot be trusted might.
type fakeRoot struct {
	c      *catest.CA
	err    error
	change func(*ca.IntermediateRequest)
	other  crypto.Signer     // sign this key instead of the request's
	claims *x509.Certificate // the anchor that it says it is, when that is another
}

func (r *fakeRoot) Anchor(context.Context) (*x509.Certificate, error) {
	if r.claims != nil {
		return r.claims, r.err
	}
	return r.c.Root, r.err
}

func (r *fakeRoot) SignIntermediate(_ context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.change != nil {
		r.change(&p)
	}
	if r.other != nil {
		var err error
		if csr, err = fips.CreateRequest(&x509.CertificateRequest{}, r.other); err != nil {
			return nil, err
		}
	}
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{
		Anchor: r.c.Root, AnchorSigner: r.c.RootKey, CSR: csr, Policy: r.c.FIPS, Request: p,
	})
	return []*x509.Certificate{cert}, err
}

// fakeKeys is a key store in memory.
type fakeKeys struct{ keys map[string]crypto.Signer }

type namedKey struct {
	crypto.Signer
	name string
}

func (k namedKey) Name() string { return k.name }

func (s *fakeKeys) Create(_ context.Context, name string) (ca.Key, error) {
	if s.keys[name] != nil {
		return nil, errors.New("exists")
	}
	key, err := fips.GenerateKey(fips.ECDSAP256)
	s.keys[name] = key
	return namedKey{key, name}, err
}

func (s *fakeKeys) Open(_ context.Context, name string) (ca.Key, error) {
	if s.keys[name] == nil {
		return nil, ca.Refuse(ca.ReasonNotFound, "key %s", name)
	}
	return namedKey{s.keys[name], name}, nil
}

func (s *fakeKeys) Destroy(_ context.Context, name string) error {
	delete(s.keys, name)
	return nil
}

type custodyWorld struct {
	*ca.Custodian
	root   *fakeRoot
	keys   *fakeKeys
	store  *catest.StateStore
	events *catest.Events
}

func newCustody(t *testing.T) *custodyWorld {
	t.Helper()
	return newCustodyOf(t, catest.New(t))
}

func newCustodyOf(t *testing.T, c *catest.CA) *custodyWorld {
	t.Helper()
	w := &custodyWorld{
		root: &fakeRoot{c: c}, keys: &fakeKeys{keys: make(map[string]crypto.Signer)},
		store: &catest.StateStore{}, events: &catest.Events{},
	}
	var err error
	w.Custodian, err = ca.NewCustodian(ca.CustodianConfig{
		TrustDomain: c.Domain, Roots: ca.OneOf(w.root), Keys: w.keys, State: w.store, Events: w.events, Policy: c.FIPS,
	})
	require.NoError(t, err)
	require.NoError(t, w.Initialise(t.Context(), catest.Start, c.Bundle.Anchors()))
	return w
}

// check holds the whole world to its invariants: every key in the key store is
// named by the state, every intermediate in the state has its key, and at most
// one signs.
func (w *custodyWorld) check(t *testing.T) {
	t.Helper()
	state, _, err := w.store.Load(t.Context())
	require.NoError(t, err)
	named := map[string]bool{state.PendingKey: true}
	signing := 0
	for _, i := range state.Intermediates {
		named[i.KeyName] = true
		require.Contains(t, w.keys.keys, i.KeyName)
		if i.RetiredAt.IsZero() {
			signing++
		}
	}
	require.LessOrEqual(t, signing, 1)
	for name := range w.keys.keys {
		require.True(t, named[name], "key %s has no name in the state", name)
	}
}

func TestIntermediateRenewsAtHalfLifeAndOldKeyGoesWithItsLastLeaf(t *testing.T) {
	w := newCustody(t)
	now := catest.Start
	first, err := w.Tick(t.Context(), now, false)
	require.NoError(t, err)
	require.True(t, first.Renewed)
	require.Equal(t, now.Add(84*time.Hour), first.RenewAfter)
	w.check(t)

	again, err := w.Tick(t.Context(), now.Add(83*time.Hour), false)
	require.NoError(t, err)
	require.False(t, again.Renewed)
	require.Equal(t, first.Intermediate.KeyID(), again.Intermediate.KeyID())

	now = now.Add(84 * time.Hour)
	second, err := w.Tick(t.Context(), now, false)
	require.NoError(t, err)
	require.True(t, second.Renewed)
	require.NotEqual(t, first.Intermediate.KeyID(), second.Intermediate.KeyID())
	require.Equal(t, 1, second.Retired)
	require.Len(t, w.keys.keys, 2)
	w.check(t)

	kept, err := w.Tick(t.Context(), now.Add(24*time.Hour), false)
	require.NoError(t, err)
	require.Equal(t, 1, kept.Retired, "a leaf may live still, at a clock that is behind")
	gone, err := w.Tick(t.Context(), now.Add(24*time.Hour+5*time.Minute), false)
	require.NoError(t, err)
	require.Zero(t, gone.Retired)
	require.Len(t, w.keys.keys, 1)
	w.check(t)
	require.Equal(t, []string{"bundle.create", "intermediate.renew", "intermediate.renew", "intermediate.destroy"}, w.events.Actions())
}

func TestUnreachableRootLeavesTheIntermediateInForce(t *testing.T) {
	w := newCustody(t)
	first, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	w.root.err = errors.New("connection refused")
	late := catest.Start.Add(100 * time.Hour)
	supply, err := w.Tick(t.Context(), late, false)
	require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err))
	require.Equal(t, first.Intermediate.KeyID(), supply.Intermediate.KeyID())
	w.root.err = nil
	supply, err = w.Tick(t.Context(), late, false)
	require.NoError(t, err)
	require.True(t, supply.Renewed)
	w.check(t)
}

func TestAnswerOfTheRootIsNotTrusted(t *testing.T) {
	rows := map[string]func(*testing.T, *fakeRoot){
		"certificate for another key": func(t *testing.T, r *fakeRoot) { r.other = catest.GenerateKey(t, fips.ECDSAP256) },
		"begins in the future": func(_ *testing.T, r *fakeRoot) {
			r.change = func(p *ca.IntermediateRequest) { p.NotBefore = catest.Start.Add(time.Hour) }
		},
		"ends too soon": func(_ *testing.T, r *fakeRoot) {
			r.change = func(p *ca.IntermediateRequest) { p.NotAfter = catest.Start.Add(time.Minute) }
		},
		"lives longer than was asked for": func(_ *testing.T, r *fakeRoot) {
			r.change = func(p *ca.IntermediateRequest) { p.NotAfter = catest.Start.Add(30 * 24 * time.Hour) }
		},
		"signed under an anchor outside the bundle": func(t *testing.T, r *fakeRoot) {
			other := catest.New(t)
			r.claims = r.c.Root
			r.c = &catest.CA{Root: other.Root, RootKey: other.RootKey, FIPS: other.FIPS}
		},
	}
	for name, spoil := range rows {
		t.Run(name, func(t *testing.T) {
			w := newCustody(t)
			spoil(t, w.root)
			supply, err := w.Tick(t.Context(), catest.Start, false)
			require.Equal(t, ca.ReasonRootMismatch, ca.ReasonOf(err), "%v", err)
			require.ErrorContains(t, err, "checking the root's answer")
			require.Nil(t, supply.Intermediate)
			w.check(t)
		})
	}
}

// TestCrashAtEveryWriteIsResumed fails each write of two renewals in turn, once
// without and once with its effect, and then goes on as after a restart.
func TestCrashAtEveryWriteIsResumed(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		for at := 1; at <= 5; at++ {
			t.Run(fmt.Sprintf("write %d, persisted %t", at, persisted), func(t *testing.T) {
				w := newCustody(t)
				writes := 0
				w.store.Fault = func() (error, bool) {
					if writes++; writes == at {
						return errors.New("crash"), persisted
					}
					return nil, false
				}
				now := catest.Start
				for _, step := range []time.Duration{0, 84 * time.Hour, 26 * time.Hour} {
					now = now.Add(step)
					if _, err := w.Tick(t.Context(), now, false); err != nil {
						_, err = w.Tick(t.Context(), now, false)
						require.NoError(t, err, "the next tick resumes")
					}
					w.check(t)
				}
				require.GreaterOrEqual(t, writes, at, "the fault was never reached")
				require.Len(t, w.keys.keys, 1)
			})
		}
	}
}

func TestSecondCustodianLosesTheRace(t *testing.T) {
	w := newCustody(t)
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(w.Initialise(t.Context(), catest.Start, oneAnchor(t, w))))
}

func oneAnchor(t *testing.T, w *custodyWorld) []ca.Anchor {
	t.Helper()
	return []ca.Anchor{{Certificate: w.root.c.Root, Slot: ca.SlotActive}}
}

func TestExpiredAnchorIsReplacedOnlyOnceItHasExpired(t *testing.T) {
	w := newCustody(t)
	late := catest.Start.Add(ca.RootLifetime + time.Hour)
	policy := w.root.c.FIPS
	key := catest.GenerateKey(t, fips.ECDSAP256)
	fresh, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: w.root.c.Domain, NotBefore: late.Add(-time.Hour), NotAfter: late.Add(ca.RootLifetime), Signer: key, Policy: policy,
	})
	require.NoError(t, err)
	_, err = w.ReplaceExpired(t.Context(), catest.Start, fresh)
	require.ErrorContains(t, err, "lives until")

	_, err = w.Tick(t.Context(), late, false)
	require.Error(t, err, "an expired root signs nothing")
	bundle, err := w.ReplaceExpired(t.Context(), late, fresh)
	require.NoError(t, err)
	require.EqualValues(t, 2, bundle.Sequence())
	require.Len(t, bundle.Anchors(), 1, "anchors that have expired are gone")
	w.root.c.Root, w.root.c.RootKey = fresh, key
	supply, err := w.Tick(t.Context(), late, false)
	require.NoError(t, err)
	require.Equal(t, fresh, supply.Intermediate.Anchor())
}
