package authn_test

import (
	"testing"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/ca"
	"github.com/stretchr/testify/require"
)

// goodConfig has one cluster and one provider.
func goodConfig(t *testing.T) authn.Config {
	t.Helper()
	none := authn.KeySource{Static: []byte(`{"keys":[]}`)}
	return authn.Config{
		TrustDomain: domain(t), Now: time.Now, Leeway: 30 * time.Second,
		Kubernetes: []authn.KubernetesConfig{{Cluster: "east", Issuer: "https://east", Audiences: []string{"a"}, JWKS: none, Namespaces: []string{"shop"}}},
		OIDC:       []authn.OIDCConfig{{Name: "ci", Issuer: "https://ci", Audiences: []string{"a"}, JWKS: none, PathPrefix: "/ci"}},
	}
}

func TestConfigurationRefusals(t *testing.T) {
	url := func(u string) func(*authn.Config) {
		return func(c *authn.Config) { c.Kubernetes[0].JWKS = authn.KeySource{URL: u, CAFile: "/ca.pem"} }
	}
	for _, row := range []struct {
		name   string
		change func(c *authn.Config)
		says   string
	}{
		{"no trust domain", func(c *authn.Config) { c.TrustDomain = ca.TrustDomain{} }, "no trust domain"},
		{"no clock", func(c *authn.Config) { c.Now = nil }, "no clock"},
		{"leeway above 30 s", func(c *authn.Config) { c.Leeway = 30*time.Second + 1 }, "leeway"},
		{"negative leeway", func(c *authn.Config) { c.Leeway = -1 }, "leeway"},
		{"cluster without a name", func(c *authn.Config) { c.Kubernetes[0].Cluster = "" }, "no name"},
		{"cluster without an issuer", func(c *authn.Config) { c.Kubernetes[0].Issuer = "" }, "no issuer"},
		{"cluster without an audience", func(c *authn.Config) { c.Kubernetes[0].Audiences = nil }, "no audience"},
		{"an empty audience", func(c *authn.Config) { c.Kubernetes[0].Audiences = []string{"a", ""} }, "audience"},
		{"negative lifetime", func(c *authn.Config) { c.Kubernetes[0].MaxLifetime = -1 }, "lifetime"},
		{"unknown binding", func(c *authn.Config) { c.Kubernetes[0].RequireBound = "node" }, "neither pod nor none"},
		{"impossible namespace", func(c *authn.Config) { c.Kubernetes[0].Namespaces = []string{"shop*"} }, "shop*"},
		{"cluster twice", func(c *authn.Config) { c.Kubernetes = append(c.Kubernetes, c.Kubernetes[0]) }, "twice"},
		{"two defaults", func(c *authn.Config) {
			second := c.Kubernetes[0]
			second.Cluster, second.Default, c.Kubernetes[0].Default = "west", true, true
			c.Kubernetes = append(c.Kubernetes, second)
		}, "more than one default"},
		{"provider without a name", func(c *authn.Config) { c.OIDC[0].Name = "" }, "no name"},
		{"provider with a cluster's name", func(c *authn.Config) { c.OIDC[0].Name = "east" }, "twice"},
		{"provider with a cluster's issuer", func(c *authn.Config) { c.OIDC[0].Issuer = "https://east" }, "twice"},
		{"provider without a path prefix", func(c *authn.Config) { c.OIDC[0].PathPrefix = "" }, "no path prefix"},
		{"path prefix is only a slash", func(c *authn.Config) { c.OIDC[0].PathPrefix = "/" }, "path prefix"},
		{"path prefix without a slash", func(c *authn.Config) { c.OIDC[0].PathPrefix = "ci" }, "path prefix"},
		{"path prefix that changes the trust domain", func(c *authn.Config) { c.OIDC[0].PathPrefix = ".evil.example/ci" }, "path prefix"},
		{"path prefix that climbs", func(c *authn.Config) { c.OIDC[0].PathPrefix = "/ci/.." }, "path prefix"},
		{"no keys", func(c *authn.Config) { c.Kubernetes[0].JWKS = authn.KeySource{} }, "exactly one"},
		{"file and URL", func(c *authn.Config) {
			c.Kubernetes[0].JWKS = authn.KeySource{File: "/f", URL: "https://u", CAFile: "/c"}
		}, "exactly one"},
		{"CA file without a URL", func(c *authn.Config) { c.Kubernetes[0].JWKS.CAFile = "/c" }, "for a URL only"},
		{"token file without a URL", func(c *authn.Config) { c.Kubernetes[0].JWKS.TokenFile = "/t" }, "for a URL only"},
		{"refresh below a second", func(c *authn.Config) { c.Kubernetes[0].JWKS.Refresh = time.Millisecond }, "refresh"},
		{"negative refresh", func(c *authn.Config) { c.Kubernetes[0].JWKS.Refresh = -time.Hour }, "refresh"},
		{"maximum age below an hour", func(c *authn.Config) { c.Kubernetes[0].JWKS.MaxAge = time.Minute }, "maximum age"},
		{"plain http", url("http://issuer.example/jwks"), "https"},
		{"no scheme", url("issuer.example/jwks"), "https"},
		{"file URL", url("file:///etc/passwd"), "https"},
		{"no host", url("https:///jwks"), "https"},
		{"user in the URL", url("https://user:secret@issuer.example/jwks"), "https"},
		{"fragment in the URL", url("https://issuer.example/jwks#x"), "https"},
		{"URL without a CA file", func(c *authn.Config) { c.Kubernetes[0].JWKS = authn.KeySource{URL: "https://u"} }, "CA file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := goodConfig(t)
			row.change(&c)
			_, err := authn.New(c)
			require.ErrorContains(t, err, row.says)
		})
	}
	newAuthenticator(t, goodConfig(t))
}
