package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/api/linkerd"
	"github.com/kedge-ca/kedge/api/linkerd/proxy"
	"github.com/kedge-ca/kedge/fips"
)

// linkerdConfigText is a configuration with Linkerd's door and one cluster.
const linkerdConfigText = minimalConfig + `authn: {kubernetes: [{cluster: k, issuer: i, audiences: [x], jwks: {file: /jwks}}]}
linkerd: {listen: "127.0.0.1:8080"}
`

func TestLinkerdsDoorNeedsAnAddressAndNothingElse(t *testing.T) {
	cfg, err := parseConfig("ca.yaml", []byte(minimalConfig))
	require.NoError(t, err)
	require.Len(t, cfg.Profiles, 1)
	require.Len(t, cfg.Policy.Rules, 1)

	cfg, err = parseConfig("ca.yaml", []byte(linkerdConfigText))
	require.NoError(t, err)
	require.Equal(t, linkerdConfig{Listen: "127.0.0.1:8080", ControlPlaneNamespace: "linkerd", TrustDomain: "example.org"}, cfg.Linkerd)
	require.Equal(t, []profileConfig{{Name: "workload"}, {Name: "linkerd"}}, cfg.Profiles)
	require.Equal(t, ruleConfig{Name: "every Linkerd proxy", Methods: []string{"kubernetes"}, Profile: "linkerd"}, cfg.Policy.Rules[1])
	_, err = cfg.buildPolicy()
	require.NoError(t, err)
	names, err := cfg.linkerdServerNames()
	require.NoError(t, err)
	require.Equal(t, []string{"linkerd-identity.linkerd.serviceaccount.identity.linkerd.example.org"}, names)
	cfg.Linkerd.Plaintext = true
	names, err = cfg.linkerdServerNames()
	require.NoError(t, err)
	require.Empty(t, names, "another proxy ends the TLS")
}

// TestALifetimeOfLinkerdsProfileIsTheFiles: what makes it Linkerd's stays.
func TestALifetimeOfLinkerdsProfileIsTheFiles(t *testing.T) {
	cfg, err := parseConfig("ca.yaml", []byte(linkerdConfigText+"profiles: [{name: workload}, {name: linkerd, defaultTTL: 6h, maxTTL: 6h}]\n"))
	require.NoError(t, err)
	require.Len(t, cfg.Profiles, 2)
	profile, err := cfg.buildProfile(cfg.Profiles[1])
	require.NoError(t, err)
	require.Equal(t, 6*time.Hour, profile.MaxTTL())
}

// TestLinkerdsConfigurationIsRefused has one row for each refusal.
func TestLinkerdsConfigurationIsRefused(t *testing.T) {
	authn := "authn: {kubernetes: [{cluster: k, issuer: i, audiences: [x], jwks: {file: /jwks}}]}\n"
	rows := []struct{ name, add, at, want string }{
		{"a section without an address", authn + "linkerd: {plaintext: true}\n", "ca.yaml:6:", "an address is needed"},
		{"an address without a port", authn + "linkerd: {listen: localhost}\n", "ca.yaml:6:19: linkerd.listen", "missing port"},
		{"the address of the other APIs", authn + "linkerd: {listen: \"0.0.0.0:8443\"}\n", "ca.yaml:6:19: linkerd.listen", "other APIs"},
		{"plaintext for everyone", authn + "linkerd: {listen: \"0.0.0.0:8080\", plaintext: true}\n", "ca.yaml:6:19: linkerd.listen", "loopback"},
		{"plaintext on every address", authn + "linkerd: {listen: \":8080\", plaintext: true}\n", "ca.yaml:6:19: linkerd.listen", "loopback"},
		{"plaintext on a private address", authn + "linkerd: {listen: \"10.0.0.1:8080\", plaintext: true}\n", "ca.yaml:6:19: linkerd.listen", "loopback"},
		{"plaintext on a name, which may lead anywhere", authn + "linkerd: {listen: \"localhost:8080\", plaintext: true}\n", "ca.yaml:6:19: linkerd.listen", "loopback"},
		{"a namespace that is none", authn + "linkerd: {listen: \"127.0.0.1:1\", controlPlaneNamespace: a.b}\n", "linkerd.controlPlaneNamespace", "not the name of a namespace"},
		{"a trust domain that DNS has not", authn + "linkerd: {listen: \"127.0.0.1:1\", trustDomain: Cluster.local}\n", "linkerd.trustDomain", "lower-case DNS name"},
		{"no cluster", "linkerd: {listen: \"127.0.0.1:1\"}\n", "ca.yaml:5:", "no cluster"},
		{"keys that Linkerd has not", authn + "fips: {profile: cnsa1}\nlinkerd: {listen: \"127.0.0.1:1\"}\n", "linkerd", "P-256"},
		{"rules without one for it", authn + "policy: {rules: [{name: x, profile: workload}]}\nlinkerd: {listen: \"127.0.0.1:1\"}\n", "ca.yaml:6:", "no rule grants the profile linkerd"},
		{"rules that only deny it", authn + "policy: {rules: [{name: x, profile: linkerd, deny: true}]}\nlinkerd: {listen: \"127.0.0.1:1\"}\n", "ca.yaml:6:", "no rule grants the profile linkerd"},
		{"a lifetime beyond the bounds", authn + "profiles: [{name: workload}, {name: linkerd, maxTTL: 48h}]\nlinkerd: {listen: \"127.0.0.1:1\"}\n", "profiles[1]", "above"},
		{"an unknown key", authn + "linkerd: {listen: \"127.0.0.1:1\", port: 1}\n", "ca.yaml:6:", "unknown field"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := parseConfig("ca.yaml", []byte(minimalConfig+row.add))
			require.Error(t, err)
			require.Contains(t, err.Error(), row.at)
			require.Contains(t, err.Error(), row.want)
		})
	}
}

// linkerdSite is a site with Linkerd's door on a free port, and an issuer of tokens
// for it.
func linkerdSite(t *testing.T, more string) (site, *authntest.Issuer) {
	t.Helper()
	place, issuer := makeSite(t, at(time.Now())), authntest.NewIssuer(t, fips.ECDSAP256)
	jwks := filepath.Join(place.dir, "jwks.json")
	require.NoError(t, os.WriteFile(jwks, issuer.JWKS(t), 0o600))
	place.edit(t, "authn:\n", fmt.Sprintf("linkerd: {listen: \"127.0.0.1:0\"%s}\nauthn:\n  kubernetes: [{cluster: k, issuer: %q, audiences: [istio-ca], jwks: {file: %s}}]\n", more, authntest.URL, jwks))
	cfg, err := loadConfig(place.path)
	require.NoError(t, err)
	place.config = cfg
	return place, issuer
}

// TestServeHasLinkerdsDoor, with TLS and without, and nothing of it changes while it
// serves.
func TestServeHasLinkerdsDoor(t *testing.T) {
	for _, plaintext := range []bool{false, true} {
		t.Run(fmt.Sprintf("plaintext %t", plaintext), func(t *testing.T) { serveLinkerd(t, plaintext) })
	}
}

func serveLinkerd(t *testing.T, plaintext bool) {
	place, tokens := linkerdSite(t, fmt.Sprintf(", controlPlaneNamespace: mesh, trustDomain: cluster.local, plaintext: %t", plaintext))
	s := newServer(t, place)
	ready, ended := make(chan struct{}), make(chan error, 1)
	s.options.ready = func(context.Context, *server) error { close(ready); return nil }
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- s.run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		require.Fail(t, "it did not start", err)
	}
	issuer := proxy.Issuer{
		Address: s.linkerd.listener.Addr().String(), Name: "linkerd-identity.mesh.serviceaccount.identity.mesh.cluster.local",
		Anchors: s.authority.Bundle().Pool(), Plaintext: plaintext,
	}
	own, err := proxy.NewIdentity("web.shop.serviceaccount.identity.mesh.cluster.local")
	require.NoError(t, err)
	token := tokens.Token(t, authntest.ServiceAccount("shop", "web", time.Now()).With("aud", []string{linkerd.Audience}))
	got, err := issuer.Certify(t.Context(), own, []byte(token), time.Now())
	require.NoError(t, err)
	require.Equal(t, "spiffe://example.org/ns/shop/sa/web", got.Leaf.URIs[0].String())

	status, err := s.Status(t.Context())
	require.NoError(t, err)
	listeners := status.GetListeners()
	require.Equal(t, "linkerd", listeners[len(listeners)-1].GetName())
	require.Equal(t, issuer.Address, listeners[len(listeners)-1].GetAddress())
	place.edit(t, "controlPlaneNamespace: mesh", "controlPlaneNamespace: other")
	require.ErrorContains(t, s.Reload(t.Context()), "linkerd cannot change without a restart")
	stop()
	require.NoError(t, <-ended)
}
