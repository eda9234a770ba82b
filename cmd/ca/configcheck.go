package main

import (
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// problems checks what the values mean, all of them, so that an operator mends a
// file in one go. What a constructor checks as well is asked of the constructor.
func (c *config) problems() []problem {
	var found []problem
	add := func(path, format string, args ...any) {
		found = append(found, problem{path, fmt.Sprintf(format, args...)})
	}
	if _, err := ca.ParseTrustDomain(c.TrustDomain); err != nil {
		add("trustDomain", "%v", err)
	}
	if !filepath.IsAbs(c.DataDir) {
		add("dataDir", "%q is not an absolute path", c.DataDir)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		add("listen", "%v", err)
	} else if strings.HasSuffix(c.Listen, ":15010") {
		add("listen", "port 15010 means plaintext to Istio's agent; choose another")
	}
	if c.MinTLS != "1.2" && c.MinTLS != "1.3" {
		add("minTLS", "%q is neither 1.2 nor 1.3", c.MinTLS)
	}
	c.opsProblems(add)
	c.bundleEndpointProblems(add)
	policy, err := fips.PolicyByName(c.FIPS.Profile)
	if err != nil {
		add("fips.profile", "%v", err)
	}
	if c.FIPS.Sunset != "warn" && c.FIPS.Sunset != "refuse" {
		add("fips.sunset", "%q is neither warn nor refuse", c.FIPS.Sunset)
	}
	if c.Keys.Type == "" && err == nil {
		c.Keys.Type = string(policy.DefaultKeyType())
	}
	if _, err := fips.ParseKeyType(c.Keys.Type); err != nil {
		add("keys.type", "%v", err)
	}
	c.rootProblems(add)
	c.Store.problems(add)
	c.policyProblems(add)
	c.rotationProblems(add)
	c.authnProblems(add)
	c.linkerdProblems(add)
	c.limitProblems(add)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		add("log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	}
	return found
}

type addProblem func(path, format string, args ...any)

func (c *config) opsProblems(add addProblem) {
	host, _, err := net.SplitHostPort(c.Ops.Listen)
	if err != nil {
		add("ops.listen", "%v", err)
		return
	}
	addr, err := netip.ParseAddr(host)
	isLoopback := host == "localhost" || err == nil && addr.IsLoopback()
	if !isLoopback && !c.Ops.TLS {
		add("ops.listen", "%s is reachable from outside; set ops.tls to true or listen on loopback", c.Ops.Listen)
	}
}

func (p passphraseConfig) problems(path string, add addProblem) {
	set := 0
	for _, source := range []string{p.File, p.Env, p.Credential} {
		if source != "" {
			set++
		}
	}
	if set != 1 {
		add(path, "name exactly one of file, env and credential")
	}
	if p.File != "" && !filepath.IsAbs(p.File) {
		add(path+".file", "%q is not an absolute path", p.File)
	}
}

func (c *config) policyProblems(add addProblem) {
	if life := time.Duration(c.Intermediate.Lifetime); life < 2*ca.MaxLeafTTL || life > ca.MaxIntermediateLifetime {
		add("intermediate.lifetime", "%s is not within %s and %s", life, 2*ca.MaxLeafTTL, ca.MaxIntermediateLifetime)
	}
	for i, p := range c.Profiles {
		if p.Name == serverProfile {
			add(fmt.Sprintf("profiles[%d].name", i), "%q is reserved for the server's own certificate", p.Name)
		}
		if _, err := c.buildProfile(p); err != nil {
			add(fmt.Sprintf("profiles[%d]", i), "%v", err)
		}
	}
	for i, key := range c.Policy.BlockedKeys {
		if b, err := hex.DecodeString(key); err != nil || len(b) != 32 {
			add(fmt.Sprintf("policy.blockedKeys[%d]", i), "%q is not 64 hex digits", key)
		}
	}
	for i, r := range c.Policy.Rules {
		for _, m := range r.Methods {
			known := []ca.Method{ca.MethodKubernetes, ca.MethodOIDC, ca.MethodCertificate, ca.MethodJoinToken}
			if !slices.Contains(known, ca.Method(m)) {
				add(fmt.Sprintf("policy.rules[%d].methods", i), "%q is none of %v", m, known)
			}
		}
	}
	for i, name := range c.ServerNames {
		if _, _, err := splitServerName(name); err != nil {
			add(fmt.Sprintf("serverNames[%d]", i), "%v", err)
		}
	}
	if _, err := c.buildPolicy(); err != nil {
		add("policy.rules", "%v", err)
	}
}

func (c *config) authnProblems(add addProblem) {
	if leeway := time.Duration(c.Authn.Leeway); leeway > 30*time.Second {
		add("authn.leeway", "%s is above 30s", leeway)
	}
	for i, k := range c.Authn.Kubernetes {
		path := fmt.Sprintf("authn.kubernetes[%d]", i)
		if k.Cluster == "" || k.Issuer == "" || len(k.Audiences) == 0 {
			add(path, "cluster, issuer and audiences are needed")
		}
		if k.RequireBound != "" && k.RequireBound != "pod" && k.RequireBound != "none" {
			add(path+".requireBound", "%q is neither pod nor none", k.RequireBound)
		}
		if c.devKeys == nil {
			k.JWKS.problems(path+".jwks", add)
		}
	}
	for i, o := range c.Authn.OIDC {
		path := fmt.Sprintf("authn.oidc[%d]", i)
		if o.Name == "" || o.Issuer == "" || len(o.Audiences) == 0 || o.PathPrefix == "" {
			add(path, "name, issuer, audiences and pathPrefix are needed")
		}
		o.JWKS.problems(path+".jwks", add)
	}
}

func (k keySourceConfig) problems(path string, add addProblem) {
	switch {
	case (k.File == "") == (k.URL == ""):
		add(path, "name exactly one of file and url")
	case k.URL != "" && !strings.HasPrefix(k.URL, "https://"):
		add(path+".url", "%q is not an https URL", k.URL)
	case k.URL != "" && k.CAFile == "":
		add(path, "a URL needs caFile; the system's anchors are not used")
	case k.File != "" && !filepath.IsAbs(k.File):
		add(path+".file", "%q is not an absolute path", k.File)
	}
}

func (c *config) limitProblems(add addProblem) {
	l := c.Limits
	for _, n := range []struct {
		name  string
		value float64
	}{
		{"handshakes", float64(l.Handshakes)}, {"queue", float64(l.Queue)}, {"identityRate", l.IdentityRate},
		{"identityBurst", float64(l.IdentityBurst)}, {"reissueRate", l.ReissueRate}, {"watchers", float64(l.Watchers)},
		{"watchersPerPeer", float64(l.WatchersPerPeer)},
		{"requestTimeout", float64(l.RequestTimeout)}, {"drainTimeout", float64(l.DrainTimeout)},
	} {
		if !(n.value > 0) || math.IsInf(n.value, 1) { // NaN is not above 0
			add("limits."+n.name, "must be above 0")
		}
	}
}

// build is the profile that the file describes.
func (p profileConfig) build() ca.ProfileConfig {
	return ca.ProfileConfig{
		Name: p.Name, DefaultTTL: time.Duration(p.DefaultTTL), MinTTL: time.Duration(p.MinTTL),
		MaxTTL: time.Duration(p.MaxTTL), Backdate: time.Duration(p.Backdate), Verifiers: ca.VerifierClass(p.Verifiers),
	}
}
