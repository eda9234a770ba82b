package authntest

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// URL is the issuer of tokens unless a test changes the claim iss. It is the one
// that most clusters have.
const URL = "https://kubernetes.default.svc.cluster.local"

// Audience is the audience of tokens unless a test changes the claim aud.
const Audience = "istio-ca"

// Issuer signs tokens.
type Issuer struct {
	Key       crypto.Signer
	KeyID     string
	Algorithm string // ES256, ES384 or RS256, by its key
}

// NewIssuer makes an issuer with a fresh key. RSA keys take their time.
func NewIssuer(t testing.TB, kind fips.KeyType) *Issuer {
	t.Helper()
	key, err := fips.GenerateKey(kind)
	require.NoError(t, err)
	id, err := fips.KeyID(key.Public())
	require.NoError(t, err)
	i := &Issuer{Key: key, KeyID: base64.RawURLEncoding.EncodeToString(id), Algorithm: "RS256"}
	switch kind {
	case fips.ECDSAP256:
		i.Algorithm = "ES256"
	case fips.ECDSAP384:
		i.Algorithm = "ES384"
	}
	return i
}

// JWKS is the key set that verifies the tokens of all issuers.
func JWKS(t testing.TB, issuers ...*Issuer) []byte {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, i := range issuers {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: i.Key.Public(), KeyID: i.KeyID, Algorithm: i.Algorithm, Use: "sig"})
	}
	text, err := json.Marshal(set)
	require.NoError(t, err)
	return text
}

// JWKS is the key set that verifies the tokens.
func (i *Issuer) JWKS(t testing.TB) []byte {
	t.Helper()
	return JWKS(t, i)
}

// Cluster is a configuration that accepts the issuer's tokens.
func (i *Issuer) Cluster(t testing.TB, name string) authn.KubernetesConfig {
	t.Helper()
	return authn.KubernetesConfig{
		Cluster: name, Issuer: URL, Audiences: []string{Audience}, Default: true,
		JWKS: authn.KeySource{Static: i.JWKS(t)},
	}
}

// Claims is the payload of a token.
type Claims map[string]any

// ServiceAccount is the payload of a projected token of a pod, issued at now for
// an hour.
func ServiceAccount(namespace, name string, now time.Time) Claims {
	return Claims{
		"iss": URL, "sub": "system:serviceaccount:" + namespace + ":" + name, "aud": []string{Audience},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"jti": "d2b8a4c6-31d9-4f5a-8a54-2a8f6f0c3b10",
		"kubernetes.io": map[string]any{
			"namespace":      namespace,
			"serviceaccount": map[string]any{"name": name, "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
			"pod":            map[string]any{"name": name + "-7d4b9c", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
			"node":           map[string]any{"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
		},
	}
}

// With is a copy of c with one claim changed; nil removes it.
func (c Claims) With(name string, value any) Claims {
	changed := maps.Clone(c)
	if value == nil {
		delete(changed, name)
		return changed
	}
	changed[name] = value
	return changed
}

// Token signs claims under an honest header.
func (i *Issuer) Token(t testing.TB, c Claims) string {
	t.Helper()
	payload, err := json.Marshal(c)
	require.NoError(t, err)
	return i.Sign(t, i.Header(t), payload)
}

// Header is an honest header.
func (i *Issuer) Header(t testing.TB) []byte {
	t.Helper()
	header, err := json.Marshal(map[string]string{"alg": i.Algorithm, "kid": i.KeyID})
	require.NoError(t, err)
	return header
}

// Sign signs any header and payload, whatever they say.
func (i *Issuer) Sign(t testing.TB, header, payload []byte) string {
	t.Helper()
	signed := Encode(header) + "." + Encode(payload)
	scheme, err := fips.SchemeFor(i.Key.Public())
	require.NoError(t, err)
	signature, err := fips.Sign(i.Key, scheme, []byte(signed))
	require.NoError(t, err)
	switch i.Algorithm {
	case "ES256":
		signature = rawSignature(t, signature, 32)
	case "ES384":
		signature = rawSignature(t, signature, 48)
	}
	return signed + "." + Encode(signature)
}

// Encode is the base64url of a segment of a token.
func Encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// rawSignature is r || s (RFC 7518 §3.4) of an ASN.1 signature.
func rawSignature(t testing.TB, der []byte, size int) []byte {
	t.Helper()
	input, sequence := cryptobyte.String(der), cryptobyte.String(nil)
	var r, s []byte
	require.True(t, input.ReadASN1(&sequence, asn1.SEQUENCE) && sequence.ReadASN1Integer(&r) && sequence.ReadASN1Integer(&s))
	raw := make([]byte, 2*size)
	copy(raw[size-len(r):], r)
	copy(raw[2*size-len(s):], s)
	return raw
}
