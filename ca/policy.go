package ca

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// RuleConfig grants a profile to some callers. Rules are tried in order and the
// first that matches decides; a caller that no rule matches gets nothing.
type RuleConfig struct {
	Name       string
	Identities []string      // exact SPIFFE IDs, or prefixes that end in "/*"; empty matches every workload of the trust domain
	Methods    []Method      // empty matches every method but MethodLocal
	Clusters   []string      // configured names of Kubernetes clusters; empty matches all; a denial takes in renewals by certificate
	Profile    string        // what is granted
	MaxTTL     time.Duration // shortens the profile's maximum; 0 does not
	Deny       bool          // refuse instead of grant
}

// PolicyConfig is the whole issuance policy.
type PolicyConfig struct {
	TrustDomain TrustDomain
	Profiles    []*Profile
	Rules       []RuleConfig
	BlockedKeys [][32]byte // SHA-256 of SubjectPublicKeyInfo
}

// Policy decides which caller gets which certificate. It is immutable and its
// decisions are pure.
type Policy struct {
	domain   TrustDomain
	profiles map[string]*Profile
	rules    []rule
	blocked  map[[32]byte]struct{}
	maxTTL   time.Duration
}

type rule struct {
	RuleConfig
	profile *Profile
}

// Grant is permission for one certificate. Only Policy makes one.
type Grant struct {
	identity Identity
	profile  *Profile
	hosts    hosts
	maxTTL   time.Duration
	rule     string
}

// Profile is the profile that was granted.
func (g Grant) Profile() *Profile { return g.profile }

// Rule is the name of the rule that granted it.
func (g Grant) Rule() string { return g.rule }

// NewPolicy checks c: every rule names a profile that exists, every pattern
// could match an identity of the trust domain.
func NewPolicy(c PolicyConfig) (*Policy, error) {
	p := &Policy{domain: c.TrustDomain, profiles: make(map[string]*Profile), blocked: make(map[[32]byte]struct{})}
	if c.TrustDomain.IsZero() {
		return nil, fmt.Errorf("policy without a trust domain")
	}
	for _, profile := range c.Profiles {
		if p.profiles[profile.name] != nil {
			return nil, fmt.Errorf("profile %s is defined twice", profile.name)
		}
		p.profiles[profile.name] = profile
		p.maxTTL = max(p.maxTTL, profile.maxTTL)
	}
	for i, rc := range c.Rules {
		if rc.Name == "" {
			return nil, fmt.Errorf("policy rule %d has no name", i+1)
		}
		for _, pattern := range rc.Identities {
			if err := p.checkPattern(pattern); err != nil {
				return nil, fmt.Errorf("policy rule %s: %w", rc.Name, err)
			}
		}
		profile := p.profiles[rc.Profile]
		if profile == nil && !rc.Deny {
			return nil, fmt.Errorf("policy rule %s: there is no profile %q", rc.Name, rc.Profile)
		}
		if rc.MaxTTL < 0 || rc.MaxTTL > 0 && profile != nil && rc.MaxTTL < profile.minTTL {
			return nil, fmt.Errorf("policy rule %s: maximum lifetime %s is below the profile's minimum", rc.Name, rc.MaxTTL)
		}
		p.rules = append(p.rules, rule{RuleConfig: rc, profile: profile})
	}
	for _, key := range c.BlockedKeys {
		p.blocked[key] = struct{}{}
	}
	return p, nil
}

func (p *Policy) checkPattern(pattern string) error {
	literal, isPrefix := strings.CutSuffix(pattern, "/*")
	if isPrefix && literal == p.domain.URI() {
		return nil
	}
	id, err := ParseIdentity(literal)
	if err != nil {
		return fmt.Errorf("identity pattern %q: %w", pattern, err)
	}
	if !id.MemberOf(p.domain) {
		return fmt.Errorf("identity pattern %q is not of trust domain %s", pattern, p.domain)
	}
	return nil
}

// MaxTTL is the longest lifetime that any profile grants.
func (p *Policy) MaxTTL() time.Duration { return p.maxTTL }

// Grant decides whether caller may have the certificate that req asks for. These
// hold whatever the rules say: the caller is of our trust domain, it asks for no
// name but its own, and its key is not blocked.
func (p *Policy) Grant(caller Caller, req Request) (Grant, error) {
	id := caller.identity
	switch {
	case !id.MemberOf(p.domain):
		return Grant{}, Refuse(ReasonPolicy, "caller %s is not of trust domain %s", id, p.domain)
	case req.asked != "" && req.asked != id.String():
		return Grant{}, Refuse(ReasonCSRIdentity, "CSR asks for %q, the caller is %s", req.asked, id)
	}
	if _, isBlocked := p.blocked[req.keyHash]; isBlocked {
		return Grant{}, Refuse(ReasonKeyBlocked, "key %x is blocked", req.keyHash)
	}
	if req.profile != "" && p.profiles[req.profile] == nil {
		return Grant{}, Refuse(ReasonProfile, "profile %q", req.profile)
	}
	for i := range p.rules {
		r := &p.rules[i]
		if !r.matches(caller) {
			continue
		}
		if r.Deny {
			return Grant{}, Refuse(ReasonPolicy, "rule %s denies %s", r.Name, id)
		}
		if req.profile != "" && req.profile != r.profile.name {
			continue
		}
		return r.grant(id, req)
	}
	return Grant{}, Refuse(ReasonPolicy, "no rule grants anything to %s by %s", id, caller.evidence.Method)
}

// grant is what the rule gives to id: the names are the profile's, or follow from
// the identity, and a name that was asked for must be among them.
func (r *rule) grant(id Identity, req Request) (Grant, error) {
	if err := r.profile.checkKeyType(req.pub); err != nil {
		return Grant{}, err
	}
	granted, err := r.profile.hostsOf(id)
	switch {
	case err != nil && req.dnsName == "":
		return Grant{}, &Error{Reason: ReasonPolicy, Err: err}
	case err != nil:
		return Grant{}, &Error{Reason: ReasonCSRIdentity, Err: err}
	case req.dnsName != "" && (r.profile.account == "" || granted.dnsNames[0] != req.dnsName):
		return Grant{}, Refuse(ReasonCSRIdentity, "the request is for %q, profile %s grants %s the names %q", req.dnsName, r.profile.name, id, granted.dnsNames)
	}
	return Grant{identity: id, profile: r.profile, hosts: granted, maxTTL: r.MaxTTL, rule: r.Name}, nil
}

func (r *rule) matches(caller Caller) bool {
	method := caller.evidence.Method
	if len(r.Methods) == 0 && method == MethodLocal || len(r.Methods) > 0 && !slices.Contains(r.Methods, method) {
		return false
	}
	// A certificate does not say which cluster it came from. A denial must not be
	// passed by renewing, so it takes a certificate for one of its clusters.
	isUnknown := r.Deny && method == MethodCertificate
	if len(r.Clusters) > 0 && !isUnknown && !slices.Contains(r.Clusters, caller.evidence.Cluster) {
		return false
	}
	return len(r.Identities) == 0 || slices.ContainsFunc(r.Identities, func(pattern string) bool {
		if prefix, isPrefix := strings.CutSuffix(pattern, "*"); isPrefix {
			return strings.HasPrefix(caller.identity.id, prefix)
		}
		return caller.identity.id == pattern
	})
}
