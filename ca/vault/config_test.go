package vault_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/vault"
)

func contentOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// cancelWhen is a context that ends when done is closed.
func cancelWhen(t *testing.T, done <-chan struct{}) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-done
		cancel()
	}()
	return ctx, cancel
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	p := newPKI(t)
	fine := func() vault.Config {
		return vault.Config{
			Address: "https://vault.example:8200", CAFile: p.file(), Now: time.Now,
			Login: vault.Login{Type: vault.LoginToken, TokenFile: "/run/token"},
		}
	}
	_, err := vault.New(fine())
	require.NoError(t, err)
	for _, row := range []struct {
		name   string
		change func(*vault.Config)
		says   string
	}{
		{"no address", func(c *vault.Config) { c.Address = "" }, "address"},
		{"plaintext address", func(c *vault.Config) { c.Address = "http://vault.example:8200" }, "https"},
		{"socket", func(c *vault.Config) { c.Address = "unix:///run/vault.sock" }, "https"},
		{"address without scheme", func(c *vault.Config) { c.Address = "vault.example:8200" }, "https"},
		{"address without host", func(c *vault.Config) { c.Address = "https://" }, "https"},
		{"address that is none", func(c *vault.Config) { c.Address = "https://vault\x00" }, "address"},
		{"path in the address", func(c *vault.Config) { c.Address += "/v1" }, "more than a host"},
		{"query in the address", func(c *vault.Config) { c.Address += "?a=b" }, "more than a host"},
		{"empty query in the address", func(c *vault.Config) { c.Address += "/?" }, "more than a host"},
		{"fragment in the address", func(c *vault.Config) { c.Address += "/#a" }, "more than a host"},
		{"user in the address", func(c *vault.Config) { c.Address = "https://root:pw@vault.example:8200" }, "more than a host"},
		{"no CA file", func(c *vault.Config) { c.CAFile = "" }, "CA file"},
		{"CA file that is not there", func(c *vault.Config) { c.CAFile = filepath.Join(t.TempDir(), "none") }, "CA file"},
		{"CA file without a certificate", func(c *vault.Config) { c.CAFile = write(t, "ca.pem", "none") }, "no certificate"},
		{"CA directory", func(c *vault.Config) { c.CAFile = t.TempDir() }, "regular"},
		{"no clock", func(c *vault.Config) { c.Now = nil }, "clock"},
		{"negative timeout", func(c *vault.Config) { c.Timeout = -time.Second }, "timeout"},
		{"namespace with a line break", func(c *vault.Config) { c.Namespace = "a\r\nX-Evil: b" }, "namespace"},
		{"namespace that leads up", func(c *vault.Config) { c.Namespace = "team/../other" }, "namespace"},
		{"no login", func(c *vault.Config) { c.Login = vault.Login{} }, "login type"},
		{"unknown login", func(c *vault.Config) { c.Login.Type = "userpass" }, "login type"},
		{"mount that leads elsewhere", func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginAppRole, Mount: "../sys/x", RoleID: "r", SecretIDFile: "f"}
		}, "mount"},
		{"mount with a query", func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginAppRole, Mount: "approle?", RoleID: "r", SecretIDFile: "f"}
		}, "mount"},
		{"token-file without file", func(c *vault.Config) { c.Login = vault.Login{Type: vault.LoginToken} }, "token file"},
		{"approle without role id", func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginAppRole, SecretIDFile: "f"}
		}, "role id"},
		{"approle without secret id", func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginAppRole, RoleID: "r"}
		}, "secret id file"},
		{"kubernetes without role", func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginKubernetes, TokenFile: "f"}
		}, "role"},
		{"kubernetes without token", func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginKubernetes, Role: "r"}
		}, "token file"},
		{"jwt without role", func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginJWT, TokenFile: "f"}
		}, "role"},
		{"jwt without token", func(c *vault.Config) { c.Login = vault.Login{Type: vault.LoginJWT, Role: "r"} }, "token file"},
		{"certificate without certificate", func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginCertificate, KeyFile: "f"}
		}, "certificate file"},
		{"certificate without key", func(c *vault.Config) {
			c.Login = vault.Login{Type: vault.LoginCertificate, CertFile: "f"}
		}, "key file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := fine()
			row.change(&c)
			client, err := vault.New(c)
			require.Nil(t, client)
			require.ErrorContains(t, err, "vault: ")
			require.Contains(t, strings.ToLower(err.Error()), strings.ToLower(row.says))
			require.NotContains(t, err.Error(), "pw@", "a password in an address is not repeated")
		})
	}
}
