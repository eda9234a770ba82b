package cas_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/root/roottest"
	rootupstream "github.com/kedge-ca/kedge/ca/root/upstream"
	"github.com/kedge-ca/kedge/cmd/ca-upstream/cas"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

// over is a root as the authority sees it: through a server and a client.
func over(t *testing.T, root ca.Root) ca.Root {
	t.Helper()
	client := upstreamtest.Serve(t, upstream.Config{Root: root})
	r, err := rootupstream.New(rootupstream.Config{Client: client, Policy: upstreamtest.Policy(t)})
	require.NoError(t, err)
	return r
}

func conform(t *testing.T, root ca.Root) {
	t.Helper()
	roottest.Run(t, roottest.Subject{
		Root: over(t, root), TrustDomain: upstreamtest.Domain(t), Now: time.Now(), Policy: upstreamtest.Policy(t),
	})
}

func soft(t *testing.T, keyType fips.KeyType) *cas.Root {
	t.Helper()
	key, err := fips.GenerateKey(keyType)
	require.NoError(t, err)
	anchor := upstreamtest.NewRootWith(t, key, time.Now()).Certificate
	root, err := cas.New(cas.Config{Type: cas.TypeSoft, Chain: []*x509.Certificate{anchor}, Signer: key, Now: time.Now})
	require.NoError(t, err)
	return root
}

func TestSoftCASConforms(t *testing.T) {
	for _, keyType := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(keyType), func(t *testing.T) { conform(t, soft(t, keyType)) })
	}
}

func TestSoftCASUsesOurKeyIdentifier(t *testing.T) {
	root := over(t, soft(t, fips.ECDSAP256))
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	require.NoError(t, err)
	now := time.Now()
	chain, err := root.SignIntermediate(t.Context(), csr, ca.IntermediateRequest{
		TrustDomain: upstreamtest.Domain(t), NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.IntermediateLifetime),
	})
	require.NoError(t, err)
	want, err := fips.KeyID(key.Public())
	require.NoError(t, err)
	require.Equal(t, want, chain[0].SubjectKeyId)
}

func TestConfigOfAnotherTypeIsRefused(t *testing.T) {
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	chain := []*x509.Certificate{upstreamtest.NewRootWith(t, key, time.Now()).Certificate}
	issuer := &cas.Issuer{Type: "jwk", Provisioner: "kedge"}
	for name, c := range map[string]cas.Config{
		"no type":                 {},
		"unknown type":            {Type: "vaultcas", Authority: "https://vault.example"},
		"softcas without a key":   {Type: cas.TypeSoft, Chain: chain},
		"softcas without a chain": {Type: cas.TypeSoft, Signer: key},
		"softcas with a URL":      {Type: cas.TypeSoft, Chain: chain, Signer: key, Authority: "https://ca.example"},
		"stepcas without a root":  {Type: cas.TypeStep, Authority: "https://ca.example", Issuer: issuer},
		"stepcas without issuer":  {Type: cas.TypeStep, Authority: "https://ca.example", Fingerprint: "00"},
		"cloudcas with an issuer": {Type: cas.TypeCloud, Authority: "projects/p", Fingerprint: "00", Issuer: issuer},
		"cloudcas without a name": {Type: cas.TypeCloud},
	} {
		c.Now = time.Now
		_, err := cas.New(c)
		require.ErrorContains(t, err, "cas:", name)
	}
}
