package vault_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	transit "github.com/kedge-ca/kedge/ca/keystore/vault"
	"github.com/kedge-ca/kedge/ca/root/roottest"
	vaultroot "github.com/kedge-ca/kedge/ca/root/vault"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/ca/vault/vaulttest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

// world is a real Vault and what a server has of it: a token of exactly the
// policy that the root asks for, and another for the making of the root.
type world struct {
	*vaulttest.Server
	t      *testing.T
	domain ca.TrustDomain
	policy fips.Policy
	now    time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	domain, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	policy, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	return &world{vaulttest.Start(t), t, domain, policy, time.Now()}
}

// client is a connection whose token has exactly rules.
func (w *world) client(rules ...vault.Rule) *vault.Client {
	w.t.Helper()
	return w.clientOf(w.PolicyToken(vault.HCL(append(vault.TokenRules(), rules...))))
}

func (w *world) clientOf(token string) *vault.Client {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "token")
	require.NoError(w.t, os.WriteFile(file, []byte(token), 0o600))
	c, err := vault.New(vault.Config{
		Address: w.Address, CAFile: w.CAFile, Login: vault.Login{Type: vault.LoginToken, TokenFile: file}, Now: time.Now,
	})
	require.NoError(w.t, err)
	return c
}

func (w *world) newRoot(kind fips.KeyType) vaultroot.NewRoot {
	return vaultroot.NewRoot{TrustDomain: w.domain, KeyType: kind, Now: w.now, Policy: w.policy}
}

func (w *world) pki(c *vault.Client, issuer string) *vaultroot.PKI {
	w.t.Helper()
	p, err := vaultroot.NewPKI(vaultroot.PKIConfig{Client: c, Mount: "pki", Issuer: issuer, Policy: w.policy})
	require.NoError(w.t, err)
	return p
}

// createdPKI is a root made in Vault by a token that may, and opened by one that
// may only sign.
func (w *world) createdPKI(issuer string, kind fips.KeyType) *vaultroot.PKI {
	w.t.Helper()
	rules := w.pki(unused(), issuer)
	maker := w.pki(w.client(append(rules.CreateRules(), rules.Rules()...)...), issuer)
	_, err := maker.Create(w.t.Context(), w.newRoot(kind))
	require.NoError(w.t, err)
	return w.pki(w.client(rules.Rules()...), issuer)
}

// unused is a connection that is never asked: rules need none.
func unused() *vault.Client { return &vault.Client{} }

func (w *world) subject(r ca.Root) roottest.Subject {
	return roottest.Subject{Root: r, TrustDomain: w.domain, Now: w.now, Policy: w.policy}
}

func TestPKIRootConforms(t *testing.T) {
	for _, kind := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			w.EnableEngine("pki", "pki")
			roottest.Run(t, w.subject(w.createdPKI("kedge-root", kind)))
		})
	}
}

// TestClassicPathsConform has Vault's default issuer sign, as Vaults before 1.11 do.
func TestClassicPathsConform(t *testing.T) {
	w := newWorld(t)
	w.EnableEngine("pki", "pki")
	w.createdPKI("kedge-root", fips.ECDSAP256)
	classic := w.pki(unused(), "")
	roottest.Run(t, w.subject(w.pki(w.client(classic.Rules()...), "")))
}

// TestIssuerBelowAnotherRootConforms has an issuer sign that is itself an
// intermediate: the chain grows, and the anchor is the root above it.
func TestIssuerBelowAnotherRootConforms(t *testing.T) {
	w := newWorld(t)
	w.EnableEngine("pki", "top")
	w.EnableEngine("pki", "pki")
	w.request("POST", "top/root/generate/internal", map[string]any{"common_name": "Top", "ttl": "87600h", "key_type": "ec", "key_bits": 256})
	csr := w.request("POST", "pki/issuers/generate/intermediate/internal", map[string]any{"common_name": "Middle", "key_type": "ec", "key_bits": 256})
	signed := w.request("POST", "top/root/sign-intermediate", map[string]any{"csr": csr.Text("csr"), "common_name": "Middle", "ttl": "8760h", "max_path_length": 1})
	imported := w.request("POST", "pki/issuers/import/bundle", map[string]any{"pem_bundle": signed.Text("certificate") + "\n" + signed.Text("issuing_ca")})
	var middle string
	for _, id := range imported.Texts("imported_issuers") {
		if w.request("GET", "pki/issuer/"+id, nil).Text("key_id") != "" {
			middle = id
		}
	}
	w.request("POST", "pki/issuer/"+middle, map[string]any{"issuer_name": "middle"})
	rules := w.pki(unused(), "middle").Rules()
	root := w.pki(w.client(rules...), "middle")
	roottest.Run(t, w.subject(root))
	anchor, err := root.Anchor(t.Context())
	require.NoError(t, err)
	require.Equal(t, "Top", anchor.Subject.CommonName)
}

func (w *world) request(method, path string, body any) vault.Data {
	w.t.Helper()
	answer, err := w.Request(method, path, body)
	require.NoError(w.t, err, "%s %s", method, path)
	data, _ := answer["data"].(map[string]any)
	return data
}

func TestCreateNeverTakesARootThatIsThere(t *testing.T) {
	w := newWorld(t)
	w.EnableEngine("pki", "pki")
	root := w.createdPKI("kedge-root", fips.ECDSAP256)
	anchor, err := root.Anchor(t.Context())
	require.NoError(t, err)
	_, err = w.pki(w.clientOf(w.RootToken), "kedge-root").Create(t.Context(), w.newRoot(fips.ECDSAP256))
	require.Equal(t, ca.ReasonRootRefused, ca.ReasonOf(err), "%v", err)
	again, err := root.Anchor(t.Context())
	require.NoError(t, err)
	require.Equal(t, anchor.Raw, again.Raw)
}

func TestImportedRootSigns(t *testing.T) {
	w := newWorld(t)
	w.EnableEngine("pki", "pki")
	key := catest.GenerateKey(t, fips.ECDSAP256)
	cert, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: w.domain, NotBefore: w.now.Add(-time.Hour), NotAfter: w.now.Add(ca.RootLifetime), Signer: key, Policy: w.policy,
	})
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	bundle := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	rules := w.pki(unused(), "kedge-root")
	anchor, err := w.pki(w.client(append(rules.CreateRules(), rules.Rules()...)...), "kedge-root").Import(t.Context(), bundle, w.newRoot(fips.ECDSAP256))
	require.NoError(t, err)
	require.Equal(t, cert.Raw, anchor.Raw)
	roottest.Run(t, w.subject(w.pki(w.client(rules.Rules()...), "kedge-root")))
}

// transitRoot is a root key made by a token that may, and opened by one that may
// only sign.
func (w *world) transitRoot(kind fips.KeyType) *vaultroot.Transit {
	w.t.Helper()
	c := vaultroot.TransitConfig{
		Client: unused(), Mount: "transit", Key: "kedge-root", Version: 1, Policy: w.policy,
		Anchor: func() (*x509.Certificate, error) { return nil, nil },
	}
	rules, err := vaultroot.NewTransit(c)
	require.NoError(w.t, err)
	maker := w.client(append(rules.CreateRules(), rules.Rules()[1:]...)...)
	cert, err := vaultroot.CreateTransit(w.t.Context(), transit.KeyConfig{Client: maker, Mount: "transit", Name: "kedge-root", Version: 1}, w.newRoot(kind))
	require.NoError(w.t, err)
	c.Client, c.Anchor = w.client(rules.Rules()...), func() (*x509.Certificate, error) { return cert, nil }
	root, err := vaultroot.NewTransit(c)
	require.NoError(w.t, err)
	return root
}

func TestTransitRootConforms(t *testing.T) {
	for _, kind := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072, fips.RSA4096} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			w.EnableEngine("transit", "transit")
			roottest.Run(t, w.subject(w.transitRoot(kind)))
		})
	}
}

// TestALeftOverTransitKeyBecomesARoot: whoever made the key was not allowed to sign
// with it, so that it has no certificate.
func TestALeftOverTransitKeyBecomesARoot(t *testing.T) {
	w := newWorld(t)
	w.EnableEngine("transit", "transit")
	rules, err := vaultroot.NewTransit(vaultroot.TransitConfig{
		Client: unused(), Mount: "transit", Key: "kedge-root", Version: 1, Policy: w.policy,
		Anchor: func() (*x509.Certificate, error) { return nil, nil },
	})
	require.NoError(t, err)
	c := transit.KeyConfig{Client: w.client(rules.CreateRules()...), Mount: "transit", Name: "kedge-root", Version: 1}
	_, err = vaultroot.UseTransit(t.Context(), c, w.newRoot(fips.ECDSAP256))
	require.Equal(t, ca.ReasonRootMissing, ca.ReasonOf(err), "%v", err)
	_, err = vaultroot.CreateTransit(t.Context(), c, w.newRoot(fips.ECDSAP256))
	require.Equal(t, ca.ReasonRootDenied, ca.ReasonOf(err), "%v", err)
	require.ErrorContains(t, err, "--root-from existing")

	c.Client = w.client(append(rules.CreateRules(), rules.Rules()[1:]...)...)
	_, err = vaultroot.CreateTransit(t.Context(), c, w.newRoot(fips.ECDSAP256))
	require.Equal(t, ca.ReasonRootRefused, ca.ReasonOf(err), "%v", err)
	require.ErrorContains(t, err, "vault write transit/keys/kedge-root/config deletion_allowed=true && vault delete transit/keys/kedge-root")
	_, err = vaultroot.UseTransit(t.Context(), c, w.newRoot(fips.ECDSAP384))
	require.Equal(t, ca.ReasonRootKey, ca.ReasonOf(err), "%v", err)
	require.ErrorContains(t, err, "of type ecdsa-p256, not ecdsa-p384")

	cert, err := vaultroot.UseTransit(t.Context(), c, w.newRoot(fips.ECDSAP256))
	require.NoError(t, err)
	root, err := vaultroot.NewTransit(vaultroot.TransitConfig{
		Client: w.client(rules.Rules()...), Mount: "transit", Key: "kedge-root", Version: 1, Policy: w.policy,
		Anchor: func() (*x509.Certificate, error) { return cert, nil },
	})
	require.NoError(t, err)
	roottest.Run(t, w.subject(root))

	// The other way, in the words of the refusal.
	w.request("POST", "transit/keys/kedge-root/config", map[string]any{"deletion_allowed": true})
	w.request("DELETE", "transit/keys/kedge-root", nil)
	require.NoError(t, vaultroot.VacantTransit(t.Context(), c))
}

// TestPinnedVersionSignsAfterARotationOfTheKey rotates the key in Vault: the
// certificate is for version 1, and version 1 goes on signing.
func TestPinnedVersionSignsAfterARotationOfTheKey(t *testing.T) {
	w := newWorld(t)
	w.EnableEngine("transit", "transit")
	root := w.transitRoot(fips.ECDSAP256)
	w.request("POST", "transit/keys/kedge-root/rotate", nil)
	require.NoError(t, w.sign(root))
	w.request("POST", "transit/keys/kedge-root/config", map[string]any{"min_encryption_version": 2})
	require.Equal(t, ca.ReasonRootKey, ca.ReasonOf(w.sign(root)))
}

// sign has the root sign a new key.
func (w *world) sign(r ca.Root) error {
	w.t.Helper()
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, catest.GenerateKey(w.t, fips.ECDSAP256))
	require.NoError(w.t, err)
	_, err = r.SignIntermediate(w.t.Context(), csr, ca.IntermediateRequest{
		TrustDomain: w.domain, NotBefore: w.now.Add(-ca.CABackdate), NotAfter: w.now.Add(ca.IntermediateLifetime),
	})
	return err
}

func TestUnsafeAndForeignTransitKeysAreRefused(t *testing.T) {
	w := newWorld(t)
	w.EnableEngine("transit", "transit")
	c := w.clientOf(w.RootToken)
	for name, body := range map[string]map[string]any{
		"exportable": {"type": "ecdsa-p256", "exportable": true},
		"backup":     {"type": "ecdsa-p256", "allow_plaintext_backup": true},
		"symmetric":  {"type": "aes256-gcm96"},
		"ed25519":    {"type": "ed25519"},
		"p521":       {"type": "ecdsa-p521"},
		"rsa-2048":   {"type": "rsa-2048"},
	} {
		w.request(http.MethodPost, "transit/keys/"+name, body)
		key, err := transit.OpenKey(t.Context(), transit.KeyConfig{Client: c, Mount: "transit", Name: name})
		if name == "rsa-2048" && err == nil { // a key, but not one for a CA
			require.False(t, w.policy.CheckKey(key.Public(), fips.UseCA, w.now).Allow)
			continue
		}
		require.Equal(t, ca.ReasonRootKey, ca.ReasonOf(err), "%s: %v", name, err)
	}
	root := w.transitRoot(fips.ECDSAP256)
	anchor, err := root.Anchor(t.Context())
	require.NoError(t, err)
	w.request(http.MethodPost, "transit/keys/other", map[string]any{"type": "ecdsa-p256"})
	_, err = transit.OpenKey(t.Context(), transit.KeyConfig{Client: c, Mount: "transit", Name: "other", Version: 1, Public: anchor.PublicKey})
	require.Equal(t, ca.ReasonRootKey, ca.ReasonOf(err), "%v", err)
}
