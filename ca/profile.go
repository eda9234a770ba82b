package ca

import (
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// Bounds that no configuration passes.
const (
	MinLeafTTL     = 5 * time.Minute
	MaxLeafTTL     = 24 * time.Hour
	DefaultLeafTTL = 24 * time.Hour
	MaxBackdate    = 5 * time.Minute
	// backdateShare keeps the backdate within a tenth of the lifetime: ztunnel
	// renews at the midpoint of the certificate's own dates, and a long backdate on
	// a short certificate makes it renew at once, for ever.
	backdateShare = 10
)

// ProfileConfig describes a kind of leaf certificate.
type ProfileConfig struct {
	Name       string        // lower-case letters, digits and hyphens
	DefaultTTL time.Duration // for a request that names none; 0 means 24 h
	MinTTL     time.Duration // a shorter request is refused; 0 means 5 min
	MaxTTL     time.Duration // a longer request is shortened; 0 means 24 h
	Backdate   time.Duration // NotBefore is so long before now; 0 means 2 min
	ServerOnly bool          // extended key usage serverAuth without clientAuth
	DNSNames   []string      // granted beside the identity; none for workloads
	Addresses  []netip.Addr  // granted beside the identity; none for workloads
	Verifiers  VerifierClass // ClassRenewal, or ClassRestart for holders that read their anchors when they start; "" follows from AccountDomain
	// AccountDomain, if set, grants service accounts the DNS name
	// <account>.<namespace>.<AccountDomain> beside the identity, and nothing to others.
	AccountDomain string
	KeyTypes      []fips.KeyType // of the keys that are certified; none: what the FIPS policy allows
}

// Profile is a checked kind of leaf certificate.
type Profile struct {
	name       string
	defaultTTL time.Duration
	minTTL     time.Duration
	maxTTL     time.Duration
	backdate   time.Duration
	usages     []asn1.ObjectIdentifier
	hosts      hosts
	verifiers  VerifierClass
	account    string // domain of the service accounts' DNS names; "" grants none
	keyTypes   []fips.KeyType
	// Extensions that are the same in every leaf of the profile.
	usageEC, usageRSA, extUsage, basic extension
}

var profileName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// NewProfile checks c against the bounds above.
func NewProfile(c ProfileConfig) (*Profile, error) {
	setDefault(&c.MinTTL, MinLeafTTL)
	setDefault(&c.MaxTTL, MaxLeafTTL)
	setDefault(&c.DefaultTTL, min(DefaultLeafTTL, c.MaxTTL))
	setDefault(&c.Backdate, 2*time.Minute)
	if c.Verifiers == "" {
		c.Verifiers = c.usualVerifiers()
	}
	switch {
	case !profileName.MatchString(c.Name):
		return nil, fmt.Errorf("profile name %q: want lower-case letters, digits and hyphens", c.Name)
	case c.MinTTL < MinLeafTTL:
		return nil, fmt.Errorf("profile %s: minimum lifetime %s is below %s", c.Name, c.MinTTL, MinLeafTTL)
	case c.MaxTTL > MaxLeafTTL:
		return nil, fmt.Errorf("profile %s: maximum lifetime %s is above %s", c.Name, c.MaxTTL, MaxLeafTTL)
	case c.DefaultTTL < c.MinTTL || c.DefaultTTL > c.MaxTTL:
		return nil, fmt.Errorf("profile %s: default lifetime %s is not within %s and %s", c.Name, c.DefaultTTL, c.MinTTL, c.MaxTTL)
	case c.Backdate < 0 || c.Backdate > MaxBackdate:
		return nil, fmt.Errorf("profile %s: backdate %s is not within 0 and %s", c.Name, c.Backdate, MaxBackdate)
	case c.Verifiers != ClassRenewal && c.Verifiers != ClassRestart:
		return nil, fmt.Errorf("profile %s: verifiers %q is neither %s nor %s", c.Name, c.Verifiers, ClassRenewal, ClassRestart)
	}
	for _, name := range c.DNSNames {
		if err := checkDNSName(name); err != nil {
			return nil, fmt.Errorf("profile %s: %w", c.Name, err)
		}
	}
	for _, addr := range c.Addresses {
		if !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() {
			return nil, fmt.Errorf("profile %s: address %q is not a plain IPv4 or IPv6 address", c.Name, addr)
		}
	}
	if err := c.checkAccountDomain(); err != nil {
		return nil, fmt.Errorf("profile %s: %w", c.Name, err)
	}
	p := &Profile{
		name: c.Name, defaultTTL: c.DefaultTTL, minTTL: c.MinTTL, maxTTL: c.MaxTTL,
		backdate: c.Backdate, hosts: hosts{c.DNSNames, c.Addresses}, verifiers: c.Verifiers,
		account: c.AccountDomain, keyTypes: slices.Clone(c.KeyTypes),
		usages:  []asn1.ObjectIdentifier{oidServerAuth, oidClientAuth},
		usageEC: keyUsage(0), usageRSA: keyUsage(0, 2), basic: notCA(),
	}
	if c.ServerOnly {
		p.usages = p.usages[:1]
	}
	p.extUsage = extKeyUsage(p.usages...)
	return p, nil
}

// usualVerifiers is the class of the holders. Those of service accounts' DNS names
// are Linkerd's proxies, whose anchors are in their environment.
func (c *ProfileConfig) usualVerifiers() VerifierClass {
	if c.AccountDomain != "" {
		return ClassRestart
	}
	return ClassRenewal
}

// Name is the profile's name.
func (p *Profile) Name() string { return p.name }

// MaxTTL is the longest lifetime that the profile grants.
func (p *Profile) MaxTTL() time.Duration { return p.maxTTL }

// lifetime decides how long a leaf lives: the default when nothing is asked for,
// what is asked for when it is long enough, never more than the maximum.
func (p *Profile) lifetime(asked, limit time.Duration) (time.Duration, error) {
	if asked == 0 {
		asked = p.defaultTTL
	} else if asked < p.minTTL {
		return 0, Refuse(ReasonTTL, "asked for %s, profile %s gives at least %s", asked, p.name, p.minTTL)
	}
	ttl := min(asked, p.maxTTL)
	if limit > 0 {
		ttl = min(ttl, limit)
	}
	return ttl, nil
}

// backdateFor is how long before now a leaf of lifetime ttl begins, in whole seconds.
func (p *Profile) backdateFor(ttl time.Duration) time.Duration {
	return min(p.backdate, ttl/backdateShare).Truncate(time.Second)
}

// extensions lists the extensions of a leaf, in the order in which
// crypto/x509 writes them, so that the standard library can be the tests' oracle.
func (p *Profile) extensions(req Request, g Grant, keyID, issuerKeyID []byte) []extension {
	usage := p.usageEC
	if _, isRSA := req.pub.(*rsa.PublicKey); isRSA {
		usage = p.usageRSA // keyEncipherment is for RSA key transport only
	}
	return []extension{
		usage, p.extUsage, p.basic,
		subjectKeyID(keyID), authorityKeyID(issuerKeyID),
		altNames(g.hosts, g.identity.String(), true),
	}
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// checkDNSName allows plain lower-case host names (RFC 1123 §2.1), no wildcard.
func checkDNSName(name string) error {
	if name == "" || len(name) > 253 {
		return fmt.Errorf("DNS name %q has an unusable length", name)
	}
	for label := range splitLabels(name) {
		if !dnsLabel.MatchString(label) {
			return fmt.Errorf("DNS name %q is not a plain lower-case host name", name)
		}
	}
	return nil
}
