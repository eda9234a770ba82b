package roottest

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Subject is the implementation under test.
type Subject struct {
	Root        ca.Root
	TrustDomain ca.TrustDomain
	Now         time.Time // within the life of the anchor
	Policy      fips.Policy
	// IgnoresContext is set by roots that answer without waiting for anything.
	IgnoresContext bool
}

// Run holds s to the contract.
func Run(t *testing.T, s Subject) {
	t.Run("the anchor is a self-signed CA that lives", s.anchor)
	t.Run("an intermediate is what was asked for", s.intermediate)
	t.Run("an intermediate of each kind of key is signed", s.keyTypes)
	t.Run("an intermediate never outlives the anchor", s.clamp)
	t.Run("every intermediate has a serial of its own", s.serials)
	t.Run("many callers are served at once", s.concurrent)
	t.Run("nothing but the key comes from the request", s.onlyTheKey)
	t.Run("a request that does not prove its key is refused", s.refusals)
	t.Run("an ended context is an error or makes no difference", s.endedContext)
}

func (s Subject) anchorCert(t *testing.T) *x509.Certificate {
	t.Helper()
	anchor, err := s.Root.Anchor(t.Context())
	require.NoError(t, err)
	return anchor
}

func (s Subject) anchor(t *testing.T) {
	anchor := s.anchorCert(t)
	require.NoError(t, anchor.CheckSignatureFrom(anchor))
	require.True(t, anchor.IsCA)
	require.True(t, s.Now.After(anchor.NotBefore) && s.Now.Before(anchor.NotAfter))
	// A bundle is what the anchor is for, and what it has to be fit for.
	_, err := ca.NewBundle(s.TrustDomain, 1, []ca.Anchor{{Certificate: anchor, Slot: ca.SlotActive}})
	require.NoError(t, err)
	require.Equal(t, anchor.Raw, s.anchorCert(t).Raw, "the anchor is the same at every call")
}

func (s Subject) request(notAfter time.Time) ca.IntermediateRequest {
	return ca.IntermediateRequest{TrustDomain: s.TrustDomain, NotBefore: s.Now.Add(-ca.CABackdate), NotAfter: notAfter}
}

func (s Subject) sign(t *testing.T, key crypto.Signer, notAfter time.Time) []*x509.Certificate {
	t.Helper()
	chain, err := s.Root.SignIntermediate(t.Context(), csr(t, key), s.request(notAfter))
	require.NoError(t, err)
	require.NotEmpty(t, chain)
	return chain
}

func newKey(t *testing.T, keyType fips.KeyType) crypto.Signer {
	t.Helper()
	key, err := fips.GenerateKey(keyType)
	require.NoError(t, err)
	return key
}

func csr(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	require.NoError(t, err)
	return der
}

// usable proves the chain the way the authority does before it issues from it.
func (s Subject) usable(t *testing.T, chain []*x509.Certificate, key crypto.Signer) {
	t.Helper()
	bundle, err := ca.NewBundle(s.TrustDomain, 1, []ca.Anchor{{Certificate: s.anchorCert(t), Slot: ca.SlotActive}})
	require.NoError(t, err)
	_, err = ca.NewIntermediate(ca.IntermediateConfig{Chain: chain, Bundle: bundle, Signer: key, Policy: s.Policy})
	require.NoError(t, err)
}

func (s Subject) intermediate(t *testing.T) {
	key := newKey(t, fips.ECDSAP256)
	notAfter := s.Now.Add(ca.IntermediateLifetime)
	chain := s.sign(t, key, notAfter)
	s.usable(t, chain, key)
	cert := chain[0]
	require.True(t, fips.PublicKeyEqual(key.Public(), cert.PublicKey))
	require.True(t, cert.IsCA)
	require.Zero(t, cert.MaxPathLen)
	require.True(t, cert.MaxPathLenZero)
	require.NotZero(t, cert.KeyUsage&x509.KeyUsageCertSign)
	require.Empty(t, cert.ExtKeyUsage)
	require.Len(t, cert.URIs, 1)
	require.Equal(t, s.TrustDomain.URI(), cert.URIs[0].String())
	require.Empty(t, cert.DNSNames)
	require.False(t, cert.NotAfter.After(notAfter), "not longer than asked for")
	require.WithinDuration(t, notAfter, cert.NotAfter, time.Minute)
	require.False(t, cert.NotBefore.After(s.Now))
	anchor := s.anchorCert(t)
	require.NotContains(t, encoded(chain), string(anchor.Raw), "the anchor is not in the chain")
}

func encoded(chain []*x509.Certificate) []string {
	var all []string
	for _, cert := range chain {
		all = append(all, string(cert.Raw))
	}
	return all
}

func (s Subject) keyTypes(t *testing.T) {
	for _, keyType := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(keyType), func(t *testing.T) {
			key := newKey(t, keyType)
			s.usable(t, s.sign(t, key, s.Now.Add(ca.IntermediateLifetime)), key)
		})
	}
}

func (s Subject) clamp(t *testing.T) {
	anchor := s.anchorCert(t)
	chain, err := s.Root.SignIntermediate(t.Context(), csr(t, newKey(t, fips.ECDSAP256)), s.request(anchor.NotAfter.Add(time.Hour)))
	if err == nil { // refusing is as good
		require.False(t, chain[0].NotAfter.After(anchor.NotAfter))
	}
}

func (s Subject) serials(t *testing.T) {
	var serials []string
	key := newKey(t, fips.ECDSAP256)
	for range 3 {
		cert := s.sign(t, key, s.Now.Add(ca.IntermediateLifetime))[0]
		require.GreaterOrEqual(t, cert.SerialNumber.BitLen(), 64)
		serials = append(serials, cert.SerialNumber.String())
	}
	slices.Sort(serials)
	require.Len(t, slices.Compact(serials), 3)
}

func (s Subject) concurrent(t *testing.T) {
	var group sync.WaitGroup
	for range 4 {
		key := newKey(t, fips.ECDSAP256)
		request := csr(t, key)
		group.Go(func() {
			chain, err := s.Root.SignIntermediate(t.Context(), request, s.request(s.Now.Add(ca.IntermediateLifetime)))
			if err != nil || !fips.PublicKeyEqual(key.Public(), chain[0].PublicKey) {
				t.Errorf("a caller among others: %v", err)
			}
		})
	}
	group.Wait()
}

// onlyTheKey asks for names: an intermediate that carried them would be bound to
// them, or lend them to its leaves.
func (s Subject) onlyTheKey(t *testing.T) {
	key := newKey(t, fips.ECDSAP256)
	der, err := fips.CreateRequest(&x509.CertificateRequest{DNSNames: []string{"evil.example"}}, key)
	require.NoError(t, err)
	chain, err := s.Root.SignIntermediate(t.Context(), der, s.request(s.Now.Add(ca.IntermediateLifetime)))
	if err == nil { // refusing is as good
		require.Empty(t, chain[0].DNSNames)
	}
}

func (s Subject) refusals(t *testing.T) {
	sound := csr(t, newKey(t, fips.ECDSAP256))
	forged := slices.Clone(sound)
	forged[len(forged)-1] ^= 1
	for name, request := range map[string][]byte{
		"nothing":                        nil,
		"no request":                     []byte("-----BEGIN CERTIFICATE REQUEST-----"),
		"half a request":                 sound[:len(sound)/2],
		"bytes after the request":        append(slices.Clone(sound), 0),
		"a signature of another":         forged,
		"a key that is too small for CA": csr(t, newKey(t, fips.RSA2048)),
	} {
		chain, err := s.Root.SignIntermediate(t.Context(), request, s.request(s.Now.Add(ca.IntermediateLifetime)))
		require.Error(t, err, name)
		require.Empty(t, chain, name)
	}
}

func (s Subject) endedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Root.SignIntermediate(ctx, csr(t, newKey(t, fips.ECDSAP256)), s.request(s.Now.Add(ca.IntermediateLifetime)))
	if s.IgnoresContext {
		require.NoError(t, err)
		return
	}
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
}
