package vaulttest_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/vault/vaulttest"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

// pause is long enough for a request to a healthy server.
const pause = 300 * time.Millisecond

func TestMain(m *testing.M) { fipstest.Main(m) }

// What the suites of Kedge rely on: both engines, every login that the build has,
// exact policies, an audit trail, and a server that can be sealed, stopped and paused.
func TestRealVaultStarts(t *testing.T) {
	v := vaulttest.Start(t)
	require.Equal(t, http.StatusOK, v.Health())
	require.FileExists(t, v.CAFile)
	require.Len(t, v.UnsealKey, 64)

	t.Run("the PKI engine makes a root", func(t *testing.T) {
		v.EnableEngine("pki", "pki")
		answer, err := v.Request(http.MethodPost, "pki/root/generate/internal", map[string]any{
			"common_name": "root", "key_type": "ec", "key_bits": 256, "ttl": "87600h",
		})
		require.NoError(t, err)
		root := certificate(t, answer["data"].(map[string]any)["certificate"].(string))
		require.True(t, root.IsCA)
		require.Equal(t, x509.ECDSAWithSHA256, root.SignatureAlgorithm)
		require.Greater(t, root.NotAfter.Sub(root.NotBefore).Hours(), 87000.0, "the mount allows long lives")
	})
	t.Run("the transit engine signs", func(t *testing.T) {
		v.EnableEngine("transit", "transit")
		_, err := v.Request(http.MethodPost, "transit/keys/root", map[string]any{"type": "ecdsa-p256"})
		require.NoError(t, err)
		answer, err := v.Request(http.MethodPost, "transit/sign/root/sha2-256", map[string]any{
			"input": base64.StdEncoding.EncodeToString(make([]byte, 32)), "prehashed": true,
		})
		require.NoError(t, err)
		require.Contains(t, answer["data"].(map[string]any)["signature"], "vault:v1:")
	})
	t.Run("a token has its policy and nothing more", func(t *testing.T) {
		token := v.PolicyToken(`path "transit/keys/root" { capabilities = ["read"] }`)
		_, err := v.RequestAs(token, http.MethodGet, "transit/keys/root", nil)
		require.NoError(t, err)
		for _, path := range []string{"auth/token/lookup-self", "transit/keys/other", "pki/config/urls"} {
			requireStatus(t, v, token, path, http.StatusForbidden)
		}
		v.Revoke(token)
		requireStatus(t, v, token, "transit/keys/root", http.StatusForbidden)
	})
	t.Run("an AppRole logs in with its policy", func(t *testing.T) {
		role, secret := v.NewAppRole(`path "transit/keys/root" { capabilities = ["read"] }`, map[string]any{"token_max_ttl": "60s"})
		answer, err := v.RequestAs("", http.MethodPost, "auth/approle/login", map[string]string{"role_id": role, "secret_id": secret})
		require.NoError(t, err)
		auth := answer["auth"].(map[string]any)
		require.InDelta(t, 60, auth["lease_duration"], 1)
		_, err = v.RequestAs(auth["client_token"].(string), http.MethodGet, "transit/keys/root", nil)
		require.NoError(t, err)
		requireStatus(t, v, auth["client_token"].(string), "auth/token/lookup-self", http.StatusForbidden)
		_, _ = v.NewAppRole(`path "transit/keys/root" { capabilities = ["read"] }`)
	})
	t.Run("login by certificate and JWT is in the build", func(t *testing.T) {
		v.EnableAuth("cert", "cert")
		v.EnableAuth("jwt", "jwt")
		certFile, keyFile := v.ClientCertificate("kedge")
		require.FileExists(t, certFile)
		require.FileExists(t, keyFile)
	})
	t.Run("the audit device records requests", func(t *testing.T) {
		audit, err := os.ReadFile(v.AuditFile)
		require.NoError(t, err)
		require.Contains(t, string(audit), `"path":"transit/sign/root/sha2-256"`)
		require.False(t, bytes.Contains(audit, []byte(v.RootToken)), "tokens are hashed there")
	})
	t.Run("sealed, it refuses; unsealed, it knows its keys", func(t *testing.T) {
		v.Seal()
		requireStatus(t, v, v.RootToken, "transit/keys/root", http.StatusServiceUnavailable)
		v.Unseal()
		_, err := v.Request(http.MethodGet, "transit/keys/root", nil)
		require.NoError(t, err)
	})
	t.Run("stopped, it does not answer; restarted, it knows its keys", func(t *testing.T) {
		v.Stop()
		require.Zero(t, v.Health())
		v.Restart()
		require.Equal(t, http.StatusServiceUnavailable, v.Health(), "it starts sealed")
		v.Unseal()
		_, err := v.Request(http.MethodGet, "transit/keys/root", nil)
		require.NoError(t, err)
	})
	t.Run("paused, it hangs until it is resumed", func(t *testing.T) {
		v.Pause()
		answered := make(chan error, 1)
		go func() { _, err := v.Request(http.MethodGet, "transit/keys/root", nil); answered <- err }()
		ctx, cancel := context.WithTimeout(t.Context(), pause)
		defer cancel()
		select {
		case err := <-answered:
			require.Fail(t, "it answered while it was paused", "%v", err)
		case <-ctx.Done():
		}
		v.Resume()
		require.NoError(t, <-answered)
	})
}

func requireStatus(t *testing.T, v *vaulttest.Server, token, path string, code int) {
	t.Helper()
	_, err := v.RequestAs(token, http.MethodGet, path, nil)
	var refusal *vaulttest.StatusError
	require.ErrorAs(t, err, &refusal, path)
	require.Equal(t, code, refusal.Code, path)
}

func certificate(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	require.NotNil(t, block)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return cert
}
