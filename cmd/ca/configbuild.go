package main

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/ca"
)

// The server's own certificate: its profile, and the path of its identity.
const (
	serverProfile = "kedge-server"
	serverPath    = "/kedge/ca"
)

func (c *config) domain() (ca.TrustDomain, error) { return ca.ParseTrustDomain(c.TrustDomain) }

// serverIdentity is the identity in the server's own certificate.
func (c *config) serverIdentity() (ca.Identity, error) {
	domain, err := c.domain()
	if err != nil {
		return ca.Identity{}, err
	}
	return ca.ParseIdentity(domain.URI() + serverPath)
}

// buildPolicy makes the issuance policy: the file's profiles and rules, and one
// rule before them that lets this process have its own server certificate.
// Nobody else can get that identity, by whatever method.
func (c *config) buildPolicy() (*ca.Policy, error) {
	server, err := c.serverIdentity()
	if err != nil {
		return nil, err
	}
	own, err := c.buildServerProfile()
	if err != nil {
		return nil, err
	}
	pc := ca.PolicyConfig{TrustDomain: server.TrustDomain(), Profiles: []*ca.Profile{own}}
	pc.Rules = []ca.RuleConfig{
		{Name: "this server", Methods: []ca.Method{ca.MethodLocal}, Identities: []string{server.String()}, Profile: serverProfile},
		{Name: "nobody but this server", Identities: []string{server.String(), server.TrustDomain().URI() + "/kedge/*"}, Deny: true},
	}
	for _, p := range c.Profiles {
		profile, err := c.buildProfile(p)
		if err != nil {
			return nil, err
		}
		pc.Profiles = append(pc.Profiles, profile)
	}
	for _, r := range c.Policy.Rules {
		rule := ca.RuleConfig{
			Name: r.Name, Identities: r.Identities, Clusters: r.Clusters, Profile: r.Profile,
			MaxTTL: time.Duration(r.MaxTTL), Deny: r.Deny,
		}
		for _, m := range r.Methods {
			rule.Methods = append(rule.Methods, ca.Method(m))
		}
		pc.Rules = append(pc.Rules, rule)
	}
	for _, key := range c.Policy.BlockedKeys {
		b, err := hex.DecodeString(key)
		if err != nil || len(b) != 32 {
			return nil, fmt.Errorf("blocked key %q is not 64 hex digits", key)
		}
		pc.BlockedKeys = append(pc.BlockedKeys, [32]byte(b))
	}
	return ca.NewPolicy(pc)
}

func (c *config) buildServerProfile() (*ca.Profile, error) {
	// No longer than workloads live: a rotation waits for the last leaf, ours included.
	pc := ca.ProfileConfig{Name: serverProfile, ServerOnly: true, MaxTTL: c.longestLeaf()}
	for _, name := range c.ServerNames {
		dns, addr, err := splitServerName(name)
		if err != nil {
			return nil, err
		}
		if dns != "" {
			pc.DNSNames = append(pc.DNSNames, dns)
		} else {
			pc.Addresses = append(pc.Addresses, addr)
		}
	}
	names, err := c.linkerdServerNames()
	if err != nil {
		return nil, err
	}
	for _, name := range names { // which the file may have named as well
		if !slices.Contains(pc.DNSNames, name) {
			pc.DNSNames = append(pc.DNSNames, name)
		}
	}
	return ca.NewProfile(pc)
}

// longestLeaf is the longest lifetime that a profile grants.
func (c *config) longestLeaf() time.Duration {
	var longest time.Duration
	for _, p := range c.Profiles {
		if p.MaxTTL == 0 {
			return ca.MaxLeafTTL
		}
		longest = max(longest, time.Duration(p.MaxTTL))
	}
	if longest == 0 {
		return ca.MaxLeafTTL
	}
	return longest
}

// splitServerName tells an address from a host name.
func splitServerName(name string) (dns string, addr netip.Addr, err error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return "", addr, nil
	}
	if name == "" || strings.ContainsAny(name, ":/* ") {
		return "", netip.Addr{}, fmt.Errorf("%q is neither a host name nor an address", name)
	}
	return strings.ToLower(name), netip.Addr{}, nil
}

// buildAuthn makes the authenticator's configuration.
func (c *config) buildAuthn(tokens authn.JoinTokens, now func() time.Time) (authn.Config, error) {
	domain, err := c.domain()
	if err != nil {
		return authn.Config{}, err
	}
	ac := authn.Config{TrustDomain: domain, Now: now, Leeway: time.Duration(c.Authn.Leeway)}
	if c.Authn.JoinTokens {
		ac.JoinTokens = tokens
	}
	for _, k := range c.Authn.Kubernetes {
		keys := k.JWKS.build()
		if c.devKeys != nil {
			keys = authn.KeySource{Static: c.devKeys}
		}
		ac.Kubernetes = append(ac.Kubernetes, authn.KubernetesConfig{
			Cluster: k.Cluster, Issuer: k.Issuer, Audiences: k.Audiences, JWKS: keys,
			MaxLifetime: time.Duration(k.MaxLifetime), RequireBound: k.RequireBound,
			Namespaces: k.Namespaces, Default: k.Default,
		})
	}
	for _, o := range c.Authn.OIDC {
		ac.OIDC = append(ac.OIDC, authn.OIDCConfig{
			Name: o.Name, Issuer: o.Issuer, Audiences: o.Audiences, JWKS: o.JWKS.build(),
			MaxLifetime: time.Duration(o.MaxLifetime), PathPrefix: o.PathPrefix, Claim: o.Claim,
			RequireClaims: o.RequireClaims,
		})
	}
	return ac, nil
}

func (k keySourceConfig) build() authn.KeySource {
	return authn.KeySource{File: k.File, URL: k.URL, CAFile: k.CAFile, TokenFile: k.TokenFile, Refresh: time.Duration(k.Refresh)}
}
