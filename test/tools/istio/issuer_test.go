package istio

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The agent of these tests, and the cluster it is in.
const (
	trustDomain    = "cluster.local"
	namespace      = "default"
	serviceAccount = "default"
	agentIdentity  = "spiffe://cluster.local/ns/default/sa/default"
	clusterID      = "Kubernetes"
	issuerURL      = "https://kubernetes.default.svc.cluster.local"
)

// issuer plays the API server of a cluster, which signs service-account tokens.
type issuer struct {
	key      *ecdsa.PrivateKey
	jwksFile string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := key.PublicKey.Bytes() // 0x04, X, Y
	require.NoError(t, err)
	set, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256", "use": "sig",
		"x": encode(point[1:33]), "y": encode(point[33:]),
	}}})
	require.NoError(t, err)
	i := &issuer{key: key, jwksFile: filepath.Join(t.TempDir(), "jwks.json")}
	writeFile(t, i.jwksFile, string(set))
	return i
}

// claims are what a test may change of a good token.
type claims struct {
	audience string        // default istio-ca
	account  string        // default serviceAccount
	age      time.Duration // how long ago it was issued; it lives an hour
}

// token signs a projected service-account token (KEP-1205) with ES256.
func (i *issuer) token(t *testing.T, c claims) string {
	t.Helper()
	if c.audience == "" {
		c.audience = "istio-ca"
	}
	if c.account == "" {
		c.account = serviceAccount
	}
	issued := time.Now().Add(-c.age)
	payload, err := json.Marshal(map[string]any{
		"iss": issuerURL, "aud": []string{c.audience}, "sub": "system:serviceaccount:" + namespace + ":" + c.account,
		"iat": issued.Unix(), "nbf": issued.Unix(), "exp": issued.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": namespace,
			"pod":       map[string]string{"name": "sleep-1", "uid": "5b1b6a3e-6f0e-4f5e-9d0e-4a1a1b0d4c11"},
			"serviceaccount": map[string]string{
				"name": c.account, "uid": "3f1d5a9c-1f0a-4b52-8f8a-2d1c3b4a5e66",
			},
		},
	})
	require.NoError(t, err)
	signed := encode([]byte(`{"alg":"ES256","kid":"1","typ":"JWT"}`)) + "." + encode(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, digest[:])
	require.NoError(t, err)
	signature := make([]byte, 64) // r || s at full length, RFC 7518 §3.4
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + encode(signature)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
