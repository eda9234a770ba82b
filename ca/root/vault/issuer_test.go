package vault_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	vaultroot "github.com/kedge-ca/kedge/ca/root/vault"
	"github.com/kedge-ca/kedge/fips"
)

// below makes an issuer "middle" in mount pki under a root in mount top; the
// fields are those of the root and of the issuer.
func (w *world) below(root, middle map[string]any) *vaultroot.PKI {
	w.t.Helper()
	w.EnableEngine("pki", "top")
	w.EnableEngine("pki", "pki")
	fields := func(extra map[string]any, base map[string]any) map[string]any {
		for k, v := range extra {
			base[k] = v
		}
		return base
	}
	w.request("POST", "top/root/generate/internal", fields(root, map[string]any{"common_name": "Top", "ttl": "87600h", "key_type": "ec", "key_bits": 256}))
	csr := w.request("POST", "pki/issuers/generate/intermediate/internal", map[string]any{"common_name": "Middle", "key_type": "ec", "key_bits": 256})
	signed := w.request("POST", "top/root/sign-intermediate", fields(middle, map[string]any{"csr": csr.Text("csr"), "common_name": "Middle", "ttl": "8760h"}))
	imported := w.request("POST", "pki/issuers/import/bundle", map[string]any{"pem_bundle": signed.Text("certificate") + "\n" + signed.Text("issuing_ca")})
	for _, id := range imported.Texts("imported_issuers") {
		issuer := w.request("GET", "pki/issuer/"+id, nil)
		block, _ := pem.Decode([]byte(issuer.Text("certificate")))
		cert, err := x509.ParseCertificate(block.Bytes)
		require.NoError(w.t, err)
		if cert.Subject.CommonName == "Middle" {
			w.request("POST", "pki/issuer/"+id, map[string]any{"issuer_name": "middle"})
		}
	}
	rules := w.pki(unused(), "middle")
	return w.pki(w.client(rules.Rules()...), "middle")
}

// verifies tells whether a leaf with the trust domain's URI would verify under what
// the root signs, as every peer of a workload asks.
func (w *world) verifies(r ca.Root) error {
	w.t.Helper()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(w.t, err)
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	require.NoError(w.t, err)
	anchor, err := r.Anchor(w.t.Context())
	require.NoError(w.t, err)
	chain, err := r.SignIntermediate(w.t.Context(), csr, ca.IntermediateRequest{TrustDomain: w.domain, NotBefore: w.now.Add(-ca.CABackdate), NotAfter: w.now.Add(7 * 24 * time.Hour)})
	if err != nil {
		w.t.Logf("refused, as it should be: %v", err)
		return nil
	}
	roots, middles := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(anchor)
	for _, c := range chain {
		middles.AddCert(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: w.now.Add(-time.Minute), NotAfter: w.now.Add(time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: w.domain.String(), Path: "/ns/a/sa/b"}},
	}, chain[0], key.Public(), key)
	require.NoError(w.t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(w.t, err)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middles, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

// TestAChainThatNobodyVerifiesIsRefused signs below issuers that Vault lets sign and
// that no peer of a workload accepts: the root allows fewer CAs below it, or other
// names.
func TestAChainThatNobodyVerifiesIsRefused(t *testing.T) {
	for name, row := range map[string]struct{ root, middle map[string]any }{
		"fine":                           {nil, map[string]any{"max_path_length": 1}},
		"root's path length is 1":        {map[string]any{"max_path_length": 1}, nil},
		"middle is constrained to a URI": {nil, map[string]any{"permitted_uri_domains": "elsewhere.example"}},
		"middle excludes our URI":        {nil, map[string]any{"excluded_uri_domains": "cluster.local"}},
		"root is constrained to a URI":   {map[string]any{"permitted_uri_domains": "elsewhere.example"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			require.NoError(t, w.verifies(w.below(row.root, row.middle)))
		})
	}
}

// TestImportLooksBeforeItGivesAKeyAway has a row for each bundle that is no root with
// its key. Vault must not have been given anything: what it has, nobody takes back.
func TestImportLooksBeforeItGivesAKeyAway(t *testing.T) {
	root := func(w *world) (cert, key []byte) {
		k := catest.GenerateKey(w.t, fips.ECDSAP256)
		c, err := ca.NewRootCertificate(ca.RootRequest{
			TrustDomain: w.domain, NotBefore: w.now.Add(-time.Hour), NotAfter: w.now.Add(ca.RootLifetime), Signer: k, Policy: w.policy,
		})
		require.NoError(w.t, err)
		der, err := x509.MarshalPKCS8PrivateKey(k)
		require.NoError(w.t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for name, bundle := range map[string]func(w *world) []byte{
		"a key alone":         func(w *world) []byte { _, key := root(w); return key },
		"a certificate alone": func(w *world) []byte { cert, _ := root(w); return cert },
		"the key of another":  func(w *world) []byte { cert, _ := root(w); _, key := root(w); return append(cert, key...) },
		"two certificates": func(w *world) []byte {
			one, _ := root(w)
			two, key := root(w)
			return append(append(one, two...), key...)
		},
		"a root that ends today": func(w *world) []byte {
			k := catest.GenerateKey(w.t, fips.ECDSAP256)
			c, err := ca.NewRootCertificate(ca.RootRequest{TrustDomain: w.domain, NotBefore: w.now.Add(-time.Hour), NotAfter: w.now.Add(time.Hour), Signer: k, Policy: w.policy})
			require.NoError(w.t, err)
			der, err := x509.MarshalPKCS8PrivateKey(k)
			require.NoError(w.t, err)
			return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.EnableEngine("pki", "pki")
			_, err := w.pki(w.clientOf(w.RootToken), "kedge-root").Import(t.Context(), bundle(w), w.newRoot(fips.ECDSAP256))
			t.Logf("import says: %v", err)
			_, keys := w.Request("LIST", "pki/keys", nil)
			_, issuers := w.Request("LIST", "pki/issuers", nil)
			assert := func(err error, what string) {
				if err == nil {
					t.Errorf("vault has %s of it", what)
				}
			}
			if err == nil {
				t.Errorf("accepted")
			}
			assert(keys, "the key")
			assert(issuers, "the certificate")
		})
	}
}

// TestPreflightFindsAnIssuerThatCannotSign has the issuers that are there and cannot
// do what they are for.
func TestPreflightFindsAnIssuerThatCannotSign(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"its usage was taken away": func(w *world) {
			w.request("POST", "pki/issuer/kedge-root", map[string]any{"issuer_name": "kedge-root", "usage": "read-only,crl-signing"})
		},
		"its key is not there": func(w *world) {
			text := w.request("GET", "pki/issuer/kedge-root", nil).Text("certificate")
			_, err := w.Request("DELETE", "sys/mounts/pki", nil)
			require.NoError(w.t, err)
			w.EnableEngine("pki", "pki")
			id := w.request("POST", "pki/issuers/import/bundle", map[string]any{"pem_bundle": text}).Texts("imported_issuers")[0]
			w.request("POST", "pki/issuer/"+id, map[string]any{"issuer_name": "kedge-root"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.EnableEngine("pki", "pki")
			root := w.createdPKI("kedge-root", fips.ECDSAP256)
			require.NoError(t, w.sign(root))
			spoil(w)
			t.Logf("signing says: %v", w.sign(root))
			require.Error(t, w.sign(root))
			bad := 0
			for _, f := range root.Preflight(t.Context(), w.now) {
				t.Logf("%s %s %s: %s", f.Level, f.ID, f.Subject, f.Detail)
				if f.Level == ca.LevelFail {
					bad++
				}
			}
			require.NotZero(t, bad, "preflight says that everything is well")
		})
	}
}
