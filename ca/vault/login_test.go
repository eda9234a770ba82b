package vault_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

func requireLoginRefused(t *testing.T, o *observations, err error) {
	t.Helper()
	require.Equal(t, ca.ReasonRootLogin, ca.ReasonOf(err), "%v", err)
	outcomes := o.of("login")
	require.Equal(t, ca.ReasonRootLogin, outcomes[len(outcomes)-1])
}

func TestTokenFileLogsIn(t *testing.T) {
	s := newServer(t)
	var o observations
	file := write(t, "token", s.PolicyToken(policy(), map[string]any{"ttl": "1h"})+"\n")
	login := vault.Login{Type: vault.LoginToken, TokenFile: file}
	c := s.connect(&o, login)
	require.NoError(t, ask(t, c))
	require.WithinDuration(t, time.Now().Add(time.Hour), c.Status().TokenEnd, time.Minute)
	require.True(t, c.Status().LoggedIn && c.Status().Renewable)

	t.Run("a replaced token is read when the old one is revoked", func(t *testing.T) {
		old := strings.TrimSpace(contentOf(t, file))
		replace(t, file, s.PolicyToken(policy()))
		s.Revoke(old)
		require.NoError(t, ask(t, c))
		require.Equal(t, []ca.Reason{vault.OK, vault.OK}, o.of("login"))
	})
	t.Run("a revoked token that nobody replaces is a login that is refused", func(t *testing.T) {
		s.Revoke(contentOf(t, file))
		requireLoginRefused(t, &o, ask(t, c))
		require.False(t, c.Status().LoggedIn)
		replace(t, file, s.PolicyToken(policy()))
		require.NoError(t, ask(t, c))
	})
	t.Run("a root token has no end", func(t *testing.T) {
		c := s.connect(&o, vault.Login{Type: vault.LoginToken, TokenFile: write(t, "token", s.RootToken)})
		require.NoError(t, ask(t, c))
		require.True(t, c.Status().LoggedIn)
		require.Zero(t, c.Status().TokenEnd)
	})
	t.Run("what the policy does not allow is no reason to log in", func(t *testing.T) {
		var o observations
		c := s.connect(&o, login)
		_, err := c.Do(t.Context(), vault.Request{Operation: "read", Method: http.MethodGet, Path: "transit/keys/other"})
		require.Equal(t, ca.ReasonRootDenied, ca.ReasonOf(err))
		require.Len(t, o.of("login"), 1)
		require.NoError(t, ask(t, c))
		require.Len(t, o.of("login"), 1)
	})
}

// A token with less than a second left has 0 s, and so has one that never ends.
func TestTokenThatEndsNowIsNotOneThatNeverEnds(t *testing.T) {
	p := newPKI(t)
	for expire, refused := range map[string]bool{`"2026-01-01T00:00:00Z"`: true, `null`: false} {
		var o observations
		c := p.connect(p.serve(p.issue(nil), fakeVault("auth/token/lookup-self", answer(200, "application/json",
			`{"request_id":"1","data":{"ttl":0,"expire_time":`+expire+`,"policies":["kedge"]}}`))).URL, &o)
		_, err := c.Do(t.Context(), vault.Request{Operation: "read", Method: http.MethodGet, Path: "none"})
		if refused {
			requireLoginRefused(t, &o, err)
			continue
		}
		require.Equal(t, []ca.Reason{vault.OK}, o.of("login"))
		require.True(t, c.Status().LoggedIn)
	}
}

func TestAppRoleLogsIn(t *testing.T) {
	s := newServer(t)
	login := s.appRole(map[string]any{"token_ttl": "1h"})
	var o observations
	c := s.connect(&o, login)
	require.NoError(t, ask(t, c))
	require.Equal(t, []string{"kedge"}, c.Status().Policies)
	require.WithinDuration(t, time.Now().Add(time.Hour), c.Status().TokenEnd, time.Minute)

	t.Run("a replaced secret id is read at the next login", func(t *testing.T) {
		s.must("POST", "auth/approle/role/kedge/secret-id/destroy", map[string]any{"secret_id": strings.TrimSpace(contentOf(t, login.SecretIDFile))})
		replace(t, login.SecretIDFile, s.secretID())
		s.revokeAll("approle")
		require.NoError(t, ask(t, c))
	})
	for name, change := range map[string]func(*vault.Login){
		"another role":         func(l *vault.Login) { l.RoleID = "none" },
		"another secret id":    func(l *vault.Login) { l.SecretIDFile = write(t, "secret-id", "none") },
		"a mount that is none": func(l *vault.Login) { l.Mount = "elsewhere" },
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			var o observations
			wrong := login
			change(&wrong)
			requireLoginRefused(t, &o, ask(t, s.connect(&o, wrong)))
		})
	}
}

func TestWrappedSecretIDIsOpenedOnce(t *testing.T) {
	s := newServer(t)
	login := s.appRole(nil)
	login.Wrapped = true
	wrap := func() string { return s.wrapped("POST", "auth/approle/role/kedge/secret-id") }
	replace(t, login.SecretIDFile, wrap())
	var o observations
	c := s.connect(&o, login)
	require.NoError(t, ask(t, c))

	t.Run("the same process logs in again with what it has", func(t *testing.T) {
		s.revokeAll("approle")
		require.NoError(t, ask(t, c))
		require.Equal(t, []ca.Reason{vault.OK, vault.OK}, o.of("login"))
		require.Equal(t, []ca.Reason{vault.OK}, o.of("unwrap"))
	})
	t.Run("another process is told that it was opened", func(t *testing.T) {
		var o observations
		err := ask(t, s.connect(&o, login))
		requireLoginRefused(t, &o, err)
		require.ErrorContains(t, err, "treat it as stolen")
		require.Equal(t, []ca.Reason{ca.ReasonRootRefused}, o.of("lookup_wrapping"))
	})
	t.Run("a new wrapping is opened", func(t *testing.T) {
		s.revokeAll("approle") // wrappings too
		replace(t, login.SecretIDFile, wrap())
		require.NoError(t, ask(t, c))
		require.Equal(t, []ca.Reason{vault.OK, vault.OK}, o.of("unwrap"))
	})
	t.Run("a wrapping of something else is refused", func(t *testing.T) {
		var o observations
		replace(t, login.SecretIDFile, s.wrapped("GET", probe.Path))
		err := ask(t, s.connect(&o, login))
		requireLoginRefused(t, &o, err)
		require.ErrorContains(t, err, "treat it as planted")
		require.Empty(t, o.of("unwrap"))
	})
	t.Run("a preflight leaves it to the server", func(t *testing.T) {
		var o observations
		replace(t, login.SecretIDFile, wrap())
		for range 2 {
			findings := s.connect(&o, login).Preflight(t.Context())
			last := findings[len(findings)-1]
			require.Equal(t, "root-login", last.ID)
			require.Equal(t, ca.LevelWarn, last.Level, "%+v", last)
		}
		require.NoError(t, ask(t, s.connect(&o, login)))
		findings := s.connect(&o, login).Preflight(t.Context())
		require.Equal(t, ca.LevelFail, findings[len(findings)-1].Level, "opened by somebody")
	})
	t.Run("a secret id that is not wrapped is refused", func(t *testing.T) {
		var o observations
		replace(t, login.SecretIDFile, s.secretID())
		requireLoginRefused(t, &o, ask(t, s.connect(&o, login)))
	})
}

func TestCertificateLogsIn(t *testing.T) {
	s := newServer(t)
	s.EnableAuth("cert", "cert")
	allow := func(name string) {
		s.must("POST", "auth/cert/certs/kedge", map[string]any{
			"certificate": contentOf(t, s.CAFile), "allowed_common_names": name,
			"token_policies": []string{"kedge"}, "token_no_default_policy": true,
		})
	}
	allow("first")
	var login vault.Login
	login.Type = vault.LoginCertificate
	login.CertFile, login.KeyFile = s.ClientCertificate("first")
	var o observations
	c := s.connect(&o, login)
	require.NoError(t, ask(t, c))

	t.Run("a replaced certificate is sent, though the connection lives", func(t *testing.T) {
		cert, key := s.ClientCertificate("second")
		replace(t, login.CertFile, contentOf(t, cert))
		replace(t, login.KeyFile, contentOf(t, key))
		allow("second")
		s.revokeAll("cert")
		require.NoError(t, ask(t, c))
	})
	t.Run("a role is asked for", func(t *testing.T) {
		named := login
		named.Role = "kedge"
		require.NoError(t, ask(t, s.connect(&o, named)))
		named.Role = "none"
		var o observations
		requireLoginRefused(t, &o, ask(t, s.connect(&o, named)))
	})
	t.Run("a certificate of another name is refused", func(t *testing.T) {
		other := login
		other.CertFile, other.KeyFile = s.ClientCertificate("other")
		var o observations
		requireLoginRefused(t, &o, ask(t, s.connect(&o, other)))
	})
	t.Run("a key that others can read is refused", func(t *testing.T) {
		open := login
		open.KeyFile = write(t, "key.pem", contentOf(t, login.KeyFile))
		require.NoError(t, os.Chmod(open.KeyFile, 0o640))
		var o observations
		err := ask(t, s.connect(&o, open))
		requireLoginRefused(t, &o, err)
		require.ErrorContains(t, err, "key.pem")
	})
	t.Run("a key of another certificate is refused", func(t *testing.T) {
		mixed := login
		_, mixed.KeyFile = s.ClientCertificate("third")
		var o observations
		requireLoginRefused(t, &o, ask(t, s.connect(&o, mixed)))
	})
}

// jwt signs claims as ES256 (RFC 7518 §3.4).
func jwt(t *testing.T, key crypto.Signer, claims map[string]any) string {
	t.Helper()
	body, err := json.Marshal(claims)
	require.NoError(t, err)
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(body)
	digest := sha256.Sum256([]byte(text))
	r, sig, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
	require.NoError(t, err)
	raw := make([]byte, 64)
	r.FillBytes(raw[:32])
	sig.FillBytes(raw[32:])
	return text + "." + encode(raw)
}

func TestJWTLogsIn(t *testing.T) {
	s := newServer(t)
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	s.EnableAuth("jwt", "jwt")
	s.must("POST", "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))})
	s.must("POST", "auth/jwt/role/kedge", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "kedge", "token_no_default_policy": true,
	})
	token := func(audience string, life time.Duration) string {
		return jwt(t, key, map[string]any{"sub": "system:serviceaccount:kedge:ca", "aud": audience, "iat": time.Now().Unix(), "exp": time.Now().Add(life).Unix()})
	}
	// As kubelet projects it: a link, and open to whoever is in the container.
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "..data"), []byte(token("vault", time.Minute)), 0o644))
	file := filepath.Join(dir, "token")
	require.NoError(t, os.Symlink("..data", file))
	login := vault.Login{Type: vault.LoginJWT, Role: "kedge", TokenFile: file}
	var o observations
	c := s.connect(&o, login)
	require.NoError(t, ask(t, c))

	t.Run("a replaced token is read at the next login", func(t *testing.T) {
		replace(t, filepath.Join(dir, "..data"), token("elsewhere", time.Minute))
		s.revokeAll("jwt")
		requireLoginRefused(t, &o, ask(t, c))
		replace(t, filepath.Join(dir, "..data"), token("vault", -time.Hour))
		requireLoginRefused(t, &o, ask(t, c))
		replace(t, filepath.Join(dir, "..data"), token("vault", time.Minute))
		require.NoError(t, ask(t, c))
	})
	t.Run("a role that is none is refused", func(t *testing.T) {
		other := login
		other.Role = "none"
		var o observations
		requireLoginRefused(t, &o, ask(t, s.connect(&o, other)))
	})
}

// The minimal build of Vault has no login by Kubernetes, so its end of it is a fake.
func TestKubernetesSendsRoleAndTokenToItsMount(t *testing.T) {
	p := newPKI(t)
	for mount, path := range map[string]string{"": "auth/kubernetes/login", "clusters/west": "auth/clusters/west/login"} {
		bodies := make(chan string, 1)
		mux := http.NewServeMux()
		mux.HandleFunc("POST /v1/"+path, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			bodies <- string(body)
			answer(200, "application/json", `{"request_id":"1","auth":{"client_token":"hvs.k8s","lease_duration":60,"renewable":true,"policies":["kedge"]}}`)(w, r)
		})
		mux.HandleFunc("GET /v1/fine", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Vault-Token") != "hvs.k8s" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			answer(200, "application/json", issuer)(w, r)
		})
		var o observations
		c := p.connect(p.serve(p.issue(nil), mux).URL, &o, func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginKubernetes, Mount: mount, Role: "kedge", TokenFile: write(t, "token", "a.b.c\n")}
		})
		_, err := c.Do(t.Context(), vault.Request{Operation: "read", Method: http.MethodGet, Path: "fine"})
		require.NoError(t, err)
		require.JSONEq(t, `{"role":"kedge","jwt":"a.b.c"}`, <-bodies)
	}
}

func TestCredentialFilesThatAreRefused(t *testing.T) {
	p := newPKI(t)
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(file("target", fakeToken, 0o600), link)) // by an absolute name, as kubelet never does
	s := p.serve(p.issue(nil), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s asked", r.URL) }))
	for name, path := range map[string]string{
		"readable by everybody": file("everybody", fakeToken, 0o604),
		"readable by a group":   file("group", fakeToken, 0o640),
		"writable by a group":   file("writable", fakeToken, 0o620),
		"a link elsewhere":      link,
		"a directory":           t.TempDir(),
		"not there":             filepath.Join(dir, "none"),
		"empty":                 file("empty", "", 0o600),
		"only a line break":     file("break", "\n", 0o600),
		"two words":             file("two", "hvs.a hvs.b", 0o600),
		"two lines":             file("lines", "hvs.a\r\nX-Evil: b", 0o600),
		"control characters":    file("control", "hvs.\x01", 0o600),
		"not ASCII":             file("ascii", "hvs.ü", 0o600),
		"too large":             file("large", strings.Repeat("x", 1<<20), 0o600),
	} {
		t.Run(name, func(t *testing.T) {
			for _, login := range []vault.Login{
				{Type: vault.LoginToken, TokenFile: path},
				{Type: vault.LoginAppRole, RoleID: "r", SecretIDFile: path},
				{Type: vault.LoginAppRole, RoleID: "r", SecretIDFile: path, Wrapped: true},
			} {
				var o observations
				c := p.connect(s.URL, &o, func(c *vault.Config) { c.Login = login })
				_, err := c.Do(t.Context(), probe)
				requireLoginRefused(t, &o, err)
				require.ErrorContains(t, err, path)
				require.NotContains(t, err.Error(), "hvs.")
			}
		})
	}
}

func TestRequiredFIPSBuildIsAskedForBeforeCredentialsAreSent(t *testing.T) {
	p := newPKI(t)
	for version, reason := range map[string]ca.Reason{
		"1.19.0": ca.ReasonRootFIPS, "1.19.0+ent": ca.ReasonRootFIPS, "1.19.0+ent.fips1402": vault.OK, "1.19.0+ent.hsm.fips1403": vault.OK,
	} {
		mux := http.NewServeMux()
		mux.HandleFunc("/v1/sys/health", answer(200, "application/json", `{"initialized":true,"version":"`+version+`","server_time_utc":1790000000}`))
		mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
			if reason != vault.OK {
				t.Errorf("%s asked of %s", r.URL, version)
			}
			answer(200, "application/json", lookup)(w, r)
		})
		var o observations
		c := p.connect(p.serve(p.issue(nil), mux).URL, &o, func(c *vault.Config) { c.RequireFIPS = true })
		_, err := c.Do(t.Context(), probe)
		require.Equal(t, []ca.Reason{reason}, o.of("login"), "%s: %v", version, err)
	}
}
