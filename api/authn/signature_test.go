package authn_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// joseToken signs claims with another implementation, so that signer and
// verifier cannot share a mistake.
func joseToken(t *testing.T, algorithm jose.SignatureAlgorithm, key crypto.Signer, c authntest.Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: "k"}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	require.NoError(t, err)
	text, err := json.Marshal(c)
	require.NoError(t, err)
	signed, err := signer.Sign(text)
	require.NoError(t, err)
	token, err := signed.CompactSerialize()
	require.NoError(t, err)
	return token
}

func TestAllowedAlgorithmsVerifyAndOnlyWithTheirKeys(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	keys := map[string]crypto.Signer{}
	for _, kind := range []fips.KeyType{fips.RSA2048, fips.ECDSAP256, fips.ECDSAP384} {
		key, err := fips.GenerateKey(kind)
		require.NoError(t, err)
		keys[string(kind)] = key
	}
	for algorithm, kind := range map[jose.SignatureAlgorithm]string{
		jose.RS256: "rsa-2048", jose.RS384: "rsa-2048", jose.RS512: "rsa-2048",
		jose.PS256: "rsa-2048", jose.PS384: "rsa-2048", jose.PS512: "rsa-2048",
		jose.ES256: "ecdsa-p256", jose.ES384: "ecdsa-p384",
	} {
		t.Run(string(algorithm), func(t *testing.T) {
			token := joseToken(t, algorithm, keys[kind], w.web())
			for other, key := range keys {
				w.useKeys(t, key, "")
				caller, err := w.authenticate(token, "")
				if other == kind {
					require.NoError(t, err)
					continue
				}
				refused(t, ca.ReasonTokenAlgorithm, caller, err)
			}
			bad := []byte(token)
			if was := bad[len(bad)-10]; was == 'A' {
				bad[len(bad)-10] = 'B'
			} else {
				bad[len(bad)-10] = 'A'
			}
			w.useKeys(t, keys[kind], "")
			caller, err := w.authenticate(string(bad), "")
			refused(t, ca.ReasonTokenSignature, caller, err)
		})
	}
}

// useKeys makes w accept tokens of key under the id "k", for one algorithm
// unless that is "".
func (w *world) useKeys(t *testing.T, key crypto.Signer, algorithm string) {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: algorithm}}})
	require.NoError(t, err)
	cluster := w.east.Cluster(t, "east")
	cluster.JWKS = authn.KeySource{Static: text}
	w.auth = newAuthenticator(t, authn.Config{TrustDomain: domain(t), Now: w.clock.Now, Kubernetes: []authn.KubernetesConfig{cluster}})
}

func TestKeyForOneAlgorithmVerifiesNoOther(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	key, err := fips.GenerateKey(fips.RSA2048)
	require.NoError(t, err)
	w.useKeys(t, key, "PS256")
	_, err = w.authenticate(joseToken(t, jose.PS256, key, w.web()), "")
	require.NoError(t, err)
	caller, err := w.authenticate(joseToken(t, jose.RS256, key, w.web()), "")
	refused(t, ca.ReasonTokenAlgorithm, caller, err)
}

// TestPSSSaltMustBeAsLongAsTheHash is RFC 7518 §3.5.
func TestPSSSaltMustBeAsLongAsTheHash(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	key, err := fips.GenerateKey(fips.RSA2048)
	require.NoError(t, err)
	w.useKeys(t, key, "")
	for salt, reason := range map[int]ca.Reason{32: "", 20: ca.ReasonTokenSignature, 64: ca.ReasonTokenSignature} {
		text, err := json.Marshal(w.web())
		require.NoError(t, err)
		signed := authntest.Encode([]byte(`{"alg":"PS256","kid":"k"}`)) + "." + authntest.Encode(text)
		digest := crypto.SHA256.New()
		digest.Write([]byte(signed))
		signature, err := key.Sign(rand.Reader, digest.Sum(nil), &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256})
		require.NoError(t, err)
		caller, err := w.authenticate(signed+"."+authntest.Encode(signature), "")
		if reason == "" {
			require.NoError(t, err)
			continue
		}
		refused(t, reason, caller, err)
	}
}

func TestECDSASignatureInASN1IsRefused(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	text, err := json.Marshal(w.web())
	require.NoError(t, err)
	signed := authntest.Encode(w.east.Header(t)) + "." + authntest.Encode(text)
	scheme, err := fips.SchemeFor(w.east.Key.Public())
	require.NoError(t, err)
	signature, err := fips.Sign(w.east.Key, scheme, []byte(signed))
	require.NoError(t, err)
	caller, err := w.authenticate(signed+"."+authntest.Encode(signature), "")
	refused(t, ca.ReasonTokenSignature, caller, err)
}

func TestTwoKeysMayShareAnID(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	old, next := authntest.NewIssuer(t, fips.ECDSAP256), authntest.NewIssuer(t, fips.ECDSAP256)
	old.KeyID, next.KeyID = "k", "k"
	cluster := old.Cluster(t, "east")
	cluster.JWKS = authn.KeySource{Static: authntest.JWKS(t, old, next, old)}
	w.auth = newAuthenticator(t, authn.Config{TrustDomain: domain(t), Now: w.clock.Now, Kubernetes: []authn.KubernetesConfig{cluster}})
	for _, issuer := range []*authntest.Issuer{old, next} {
		_, err := w.authenticate(issuer.Token(t, w.web()), "")
		require.NoError(t, err)
	}
	stats := w.auth.KeyStats()[0]
	require.Equal(t, 2, stats.Keys)
	require.Equal(t, map[string]int{"duplicate": 1}, stats.Ignored)
}

func TestKeysThatMayNotVerifyAreIgnoredAndCounted(t *testing.T) {
	good := authntest.NewIssuer(t, fips.ECDSAP256)
	good.KeyID = "good"
	key := strings.TrimSuffix(strings.TrimPrefix(string(good.JWKS(t)), `{"keys":[`), `]}`)
	edit := func(old, replacement string) string {
		edited := strings.Replace(key, old, replacement, 1)
		require.NotEqual(t, key, edited)
		return edited
	}
	rsaKey := func(modulusBytes int, exponent string) string {
		n := make([]byte, modulusBytes)
		n[0], n[len(n)-1] = 0x80, 1
		return fmt.Sprintf(`{"kty":"RSA","kid":"r","n":"%s","e":"%s"}`, authntest.Encode(n), exponent)
	}
	coordinate := authntest.Encode(make([]byte, 28))
	for _, row := range []struct{ name, jwk, reason string }{
		{"symmetric", `{"kty":"oct","kid":"good","k":"c2VjcmV0"}`, "secret"},
		{"private", edit(`"x":`, `"d":"AAAA","x":`), "secret"},
		{"Ed25519", `{"kty":"OKP","crv":"Ed25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "key_ed25519"},
		{"X25519", `{"kty":"OKP","crv":"X25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "unsupported"},
		{"P-224", `{"kty":"EC","crv":"P-224","kid":"e","x":"` + coordinate + `","y":"` + coordinate + `"}`, "unsupported"},
		{"off the curve", `{"kty":"EC","crv":"P-256","kid":"e","x":"` + authntest.Encode(make([]byte, 32)) + `","y":"` + authntest.Encode(make([]byte, 32)) + `"}`, "malformed"},
		{"RSA-1024", rsaKey(128, "AQAB"), "key_rsa_too_small"},
		{"RSA-2560", rsaKey(320, "AQAB"), "key_rsa_size"},
		{"RSA-16384", rsaKey(2048, "AQAB"), "unsupported"},
		{"RSA with exponent 3", rsaKey(256, "Aw"), "key_rsa_exponent"},
		{"RSA with exponent 1", rsaKey(256, "AQ"), "malformed"},
		{"for encryption", edit(`"use":"sig"`, `"use":"enc"`), "use"},
		{"for HMAC", edit(`"alg":"ES256"`, `"alg":"HS256"`), "algorithm"},
		{"for another kind of key", edit(`"alg":"ES256"`, `"alg":"RS256"`), "algorithm"},
		{"for another curve", edit(`"alg":"ES256"`, `"alg":"ES384"`), "algorithm"},
		{"without an id", edit(`"kid":"good",`, ``), "key_id"},
		{"with an id of 257 bytes", edit(`"kid":"good"`, `"kid":"`+strings.Repeat("k", 257)+`"`), "key_id"},
		{"of an unknown type", `{"kty":"future","kid":"f"}`, "unsupported"},
		{"without a type", `{"kid":"f"}`, "malformed"},
		{"empty", `{}`, "malformed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, fips.ECDSAP256)
			cluster := good.Cluster(t, "east")
			cluster.JWKS = authn.KeySource{Static: []byte(`{"keys":[` + row.jwk + `,` + key + `]}`)}
			w.auth = newAuthenticator(t, authn.Config{TrustDomain: domain(t), Now: w.clock.Now, Kubernetes: []authn.KubernetesConfig{cluster}})
			stats := w.auth.KeyStats()[0]
			require.Equal(t, 1, stats.Keys)
			require.Equal(t, map[string]int{row.reason: 1}, stats.Ignored)
			_, err := w.authenticate(good.Token(t, w.web()), "")
			require.NoError(t, err, "the good key beside it is not affected")
		})
	}
}

func TestSetOfManyKeysIsBounded(t *testing.T) {
	issuers := make([]*authntest.Issuer, 105)
	for i := range issuers {
		issuers[i] = authntest.NewIssuer(t, fips.ECDSAP256)
	}
	cluster := issuers[0].Cluster(t, "east")
	cluster.JWKS = authn.KeySource{Static: authntest.JWKS(t, issuers...)}
	auth := newAuthenticator(t, authn.Config{TrustDomain: domain(t), Now: authntest.NewClock(catest.Start).Now, Kubernetes: []authn.KubernetesConfig{cluster}})
	require.Equal(t, 100, auth.KeyStats()[0].Keys)
	require.Equal(t, map[string]int{"too_many": 5}, auth.KeyStats()[0].Ignored)
}
