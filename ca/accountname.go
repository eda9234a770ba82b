package ca

import (
	"crypto"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-ca/kedge/fips"
)

// checkAccountDomain checks what NewProfile is told about service accounts' names.
func (c *ProfileConfig) checkAccountDomain() error {
	if c.AccountDomain == "" {
		return nil
	}
	if len(c.DNSNames) > 0 || len(c.Addresses) > 0 || c.ServerOnly {
		return fmt.Errorf("names of service accounts and names of a server exclude each other")
	}
	// The shortest name that there can be must fit.
	if err := checkDNSName("a.a." + c.AccountDomain); err != nil {
		return fmt.Errorf("domain of service accounts: %w", err)
	}
	return nil
}

// hostsOf is the names that the profile grants to id.
func (p *Profile) hostsOf(id Identity) (hosts, error) {
	if p.account == "" {
		return p.hosts, nil
	}
	name, err := accountName(id, p.account)
	if err != nil {
		return hosts{}, fmt.Errorf("profile %s is for service accounts: %w", p.name, err)
	}
	return hosts{dnsNames: []string{name}}, nil
}

// accountName is <account>.<namespace>.<domain> for an identity of the form
// /ns/<namespace>/sa/<account>. An account with a dot has none, as at Linkerd's own
// issuer: its name would read as that of another namespace.
func accountName(id Identity, domain string) (string, error) {
	part := strings.Split(id.Path(), "/")
	if len(part) != 5 || part[1] != "ns" || part[3] != "sa" {
		return "", fmt.Errorf("%s is not a service account", id)
	}
	for _, label := range []string{part[2], part[4]} {
		if strings.Contains(label, ".") {
			return "", fmt.Errorf("%s has no DNS name: %q has a dot", id, label)
		}
	}
	name := part[4] + "." + part[2] + "." + domain
	if err := checkDNSName(name); err != nil {
		return "", fmt.Errorf("%s: %w", id, err)
	}
	return name, nil
}

// checkKeyType refuses a key that the holder's peers could not use.
func (p *Profile) checkKeyType(pub crypto.PublicKey) error {
	if len(p.keyTypes) == 0 {
		return nil
	}
	kind, err := fips.KeyTypeOf(pub)
	if err != nil || !slices.Contains(p.keyTypes, kind) {
		return Refuse(ReasonKeyUnsupported, "profile %s certifies %v, not %T of type %q", p.name, p.keyTypes, pub, kind)
	}
	return nil
}
