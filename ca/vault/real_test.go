package vault_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/ca/vault/vaulttest"
	"github.com/kedge-ca/kedge/fips"
)

// probe is a request that the policy of these tests allows, and its answer is known.
var probe = vault.Request{Operation: "read", Method: http.MethodGet, Path: "transit/keys/probe"}

// server is a real Vault with the policy "kedge": the rules of a login and the probe.
type server struct {
	*vaulttest.Server
	t *testing.T
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{vaulttest.Start(t), t}
	s.EnableEngine("transit", "transit")
	s.must("POST", "transit/keys/probe", map[string]any{"type": "ecdsa-p256"})
	s.must("PUT", "sys/policies/acl/kedge", map[string]any{"policy": policy()})
	return s
}

func policy() string {
	return vault.HCL(append(vault.TokenRules(), vault.Rule{Path: probe.Path, Capabilities: []string{"read"}, Why: "Probe."}))
}

func (s *server) must(method, path string, body any) map[string]any {
	s.t.Helper()
	answer, err := s.Request(method, path, body)
	require.NoError(s.t, err, "%s %s", method, path)
	return answer
}

func (s *server) connect(o *observations, login vault.Login, change ...func(*vault.Config)) *vault.Client {
	s.t.Helper()
	c := vault.Config{Address: s.Address, CAFile: s.CAFile, Now: time.Now, Observe: o.add, Login: login}
	for _, f := range change {
		f(&c)
	}
	client, err := vault.New(c)
	require.NoError(s.t, err)
	return client
}

// appRole makes the role "kedge" and returns its login, with a secret id in a file.
func (s *server) appRole(settings map[string]any) vault.Login {
	s.t.Helper()
	s.EnableAuth("approle", "approle")
	s.setRole(settings)
	id := s.must("GET", "auth/approle/role/kedge/role-id", nil)["data"].(map[string]any)["role_id"].(string)
	return vault.Login{Type: vault.LoginAppRole, RoleID: id, SecretIDFile: write(s.t, "secret-id", s.secretID()+"\n")}
}

func (s *server) setRole(settings map[string]any) {
	s.t.Helper()
	body := map[string]any{"token_policies": []string{"kedge"}, "token_no_default_policy": true}
	for k, v := range settings {
		body[k] = v
	}
	s.must("POST", "auth/approle/role/kedge", body)
}

func (s *server) secretID() string {
	s.t.Helper()
	return s.must("POST", "auth/approle/role/kedge/secret-id", nil)["data"].(map[string]any)["secret_id"].(string)
}

// wrapped asks for something and gets the token that opens the answer, once.
func (s *server) wrapped(method, path string) string {
	s.t.Helper()
	roots := x509.NewCertPool()
	require.True(s.t, roots.AppendCertsFromPEM([]byte(contentOf(s.t, s.CAFile))))
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: roots})
	require.NoError(s.t, err)
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.Address+"/v1/"+path, bytes.NewReader([]byte("{}")))
	require.NoError(s.t, err)
	r.Header.Set("X-Vault-Token", s.RootToken)
	r.Header.Set("X-Vault-Wrap-TTL", "5m")
	answer, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}).Do(r)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	var said struct {
		Wrap struct{ Token string } `json:"wrap_info"`
	}
	require.NoError(s.t, json.NewDecoder(answer.Body).Decode(&said))
	require.NotEmpty(s.t, said.Wrap.Token)
	return said.Wrap.Token
}

// revokeAll ends every token of a login method.
func (s *server) revokeAll(mount string) {
	s.t.Helper()
	s.must("PUT", "sys/leases/revoke-prefix/auth/"+mount, nil)
}

func ask(t *testing.T, c *vault.Client) error {
	t.Helper()
	data, err := c.Do(t.Context(), probe)
	if err == nil {
		require.Equal(t, "ecdsa-p256", data.Text("type"))
	}
	return err
}
