package authn_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

func TestTokenIssuerAndCluster(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	west := func(t *testing.T, w *world) string { return w.west.Token(t, w.web()) }
	honest := with("x", 1)
	for _, row := range []tokenRow{
		{"default cluster", honest, "", ""},
		{"default cluster by name", honest, "east", ""},
		{"other cluster by name", west, "west", ""},
		{"other cluster's token for the default", west, "", ca.ReasonTokenKeyUnknown},
		{"other cluster's token under our cluster's name", west, "east", ca.ReasonTokenKeyUnknown},
		{"our token under the other cluster's name", honest, "west", ca.ReasonTokenKeyUnknown},
		{"unknown cluster", honest, "north", ca.ReasonClusterUnknown},
		{"cluster in another case", honest, "East", ca.ReasonClusterUnknown},
		{"cluster is a path", honest, "../east", ca.ReasonClusterUnknown},
		{"unknown issuer", with("iss", "https://evil.example"), "", ca.ReasonTokenIssuer},
		{"unknown issuer under a cluster's name", with("iss", "https://evil.example"), "east", ca.ReasonTokenIssuer},
		{"issuer with a slash after it", with("iss", authntest.URL+"/"), "", ca.ReasonTokenIssuer},
		{"no issuer", with("iss", nil), "", ca.ReasonTokenIssuer},
		{"a namespace that may not call", func(t *testing.T, w *world) string {
			return w.west.Token(t, authntest.ServiceAccount("kube-system", "web", w.now))
		}, "west", ca.ReasonTokenSubject},
	} {
		row.run(t, w)
	}
}

func TestClusterWithoutADefault(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	east, west := w.east.Cluster(t, "east"), w.west.Cluster(t, "west")
	east.Default, west.Default = false, false
	with := func(clusters ...authn.KubernetesConfig) *authn.Authenticator {
		return newAuthenticator(t, authn.Config{TrustDomain: domain(t), Now: w.clock.Now, Kubernetes: clusters})
	}
	token := w.east.Token(t, w.web())

	w.auth = with(east)
	_, err := w.authenticate(token, "")
	require.NoError(t, err, "one cluster needs no name")

	w.auth = with(east, west)
	caller, err := w.authenticate(token, "")
	refused(t, ca.ReasonClusterUnknown, caller, err)

	west.Issuer = "https://west.example"
	w.auth = with(east, west)
	_, err = w.authenticate(token, "")
	require.NoError(t, err, "an issuer of one cluster names it")
	caller, err = w.authenticate(token, "west")
	refused(t, ca.ReasonTokenIssuer, caller, err)
}

func TestOIDCRefusals(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	with := func(claim string, value any) func(*testing.T, *world) string {
		return func(t *testing.T, w *world) string { return w.ci.Token(t, w.build().With(claim, value)) }
	}
	for _, row := range []tokenRow{
		{"required claim missing", with("ref", nil), "", ca.ReasonTokenSubject},
		{"required claim different", with("ref", "refs/heads/evil"), "", ca.ReasonTokenSubject},
		{"required claim of another type", with("ref", []string{"refs/heads/main"}), "", ca.ReasonTokenSubject},
		{"identity claim missing", with("repository", nil), "", ca.ReasonTokenSubject},
		{"identity claim of another type", with("repository", []string{"shop/web"}), "", ca.ReasonTokenSubject},
		{"identity claim empty", with("repository", ""), "", ca.ReasonTokenSubject},
		{"identity claim climbs", with("repository", "../ns/shop/sa/web"), "", ca.ReasonTokenSubject},
		{"identity claim with a dot segment", with("repository", "shop/./web"), "", ca.ReasonTokenSubject},
		{"identity claim absolute", with("repository", "/shop/web"), "", ca.ReasonTokenSubject},
		{"identity claim with a slash after it", with("repository", "shop/web/"), "", ca.ReasonTokenSubject},
		{"identity claim with an escape", with("repository", "shop%2fweb"), "", ca.ReasonTokenSubject},
		{"identity claim with a colon", with("repository", "shop:web"), "", ca.ReasonTokenSubject},
		{"identity claim with a homoglyph", with("repository", "shoр/web"), "", ca.ReasonTokenSubject},
		{"identity claim too long", with("repository", strings.Repeat("a", 2100)), "", ca.ReasonTokenSubject},
		{"audience of the clusters", with("aud", "istio-ca"), "", ca.ReasonTokenAudience},
		{"lives longer than an hour", with("exp", w.now.Add(61*time.Minute).Unix()), "", ca.ReasonTokenLifetime},
		{"signed by a cluster", func(t *testing.T, w *world) string { return w.east.Token(t, w.build()) }, "", ca.ReasonTokenKeyUnknown},
	} {
		row.run(t, w)
	}
}
