package ca

import (
	"fmt"
	"strings"
)

// Limits of SPIFFE-ID §2.1 and §2.3.
const (
	maxTrustDomainLen = 255
	maxIdentityLen    = 2048
	scheme            = "spiffe://"
)

// TrustDomain is a parsed SPIFFE trust domain name. It is comparable; the zero
// value is invalid and equals no parsed one.
type TrustDomain struct{ name string }

// ParseTrustDomain accepts a bare trust domain name such as "cluster.local".
// Nothing is normalised: an upper-case letter is an error (SPIFFE-ID §2.1).
func ParseTrustDomain(s string) (TrustDomain, error) {
	switch {
	case s == "":
		return TrustDomain{}, fmt.Errorf("trust domain is empty")
	case len(s) > maxTrustDomainLen:
		return TrustDomain{}, fmt.Errorf("trust domain is longer than %d bytes", maxTrustDomainLen)
	}
	for i := range len(s) {
		if !isTrustDomainByte(s[i]) {
			return TrustDomain{}, fmt.Errorf("trust domain has a character outside [a-z0-9.-_] at byte %d", i)
		}
	}
	if s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return TrustDomain{}, fmt.Errorf("trust domain has an empty label")
	}
	return TrustDomain{name: s}, nil
}

// String is the bare name, "" for the zero value.
func (td TrustDomain) String() string { return td.name }

// IsZero tells whether td was never parsed.
func (td TrustDomain) IsZero() bool { return td.name == "" }

// URI is the SPIFFE ID of the trust domain itself, as CA certificates carry it
// (X509-SVID §4.1: no path).
func (td TrustDomain) URI() string { return scheme + td.name }

// ServiceAccount is the identity of a Kubernetes service account,
// spiffe://<td>/ns/<namespace>/sa/<name>, the form that every mesh shares. A slash
// in either name would make it another service account's path.
func (td TrustDomain) ServiceAccount(namespace, name string) (Identity, error) {
	if strings.ContainsRune(namespace, '/') || strings.ContainsRune(name, '/') {
		return Identity{}, fmt.Errorf("service account %q in namespace %q: a name has a slash", name, namespace)
	}
	return ParseIdentity(scheme + td.name + "/ns/" + namespace + "/sa/" + name)
}

// Identity is a parsed SPIFFE ID of a workload: a trust domain and a path. It is
// comparable; the zero value is invalid and equals no parsed one.
type Identity struct {
	id   string
	path int // index in id at which the path starts
}

// ParseIdentity accepts exactly the canonical form spiffe://<td>/<path> of
// SPIFFE-ID §2. It never normalises: whatever has two spellings elsewhere
// (case, dots, percent signs, ports, user information) is an error here, so that
// equality of identities is equality of bytes.
func ParseIdentity(s string) (Identity, error) {
	if len(s) > maxIdentityLen {
		return Identity{}, fmt.Errorf("identity is longer than %d bytes", maxIdentityLen)
	}
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return Identity{}, fmt.Errorf("identity does not start with %q", scheme)
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return Identity{}, fmt.Errorf("identity has no path")
	}
	if _, err := ParseTrustDomain(rest[:slash]); err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	if err := checkPath(rest[slash:]); err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	return Identity{id: s, path: len(scheme) + slash}, nil
}

// String is the whole SPIFFE ID, "" for the zero value.
func (i Identity) String() string { return i.id }

// IsZero tells whether i was never parsed.
func (i Identity) IsZero() bool { return i.id == "" }

// TrustDomain is the trust domain that i belongs to.
func (i Identity) TrustDomain() TrustDomain {
	if i.IsZero() {
		return TrustDomain{}
	}
	return TrustDomain{name: i.id[len(scheme):i.path]}
}

// Path is the path with its leading slash.
func (i Identity) Path() string { return i.id[i.path:] }

// MemberOf tells whether i belongs to td; the zero trust domain has no members.
func (i Identity) MemberOf(td TrustDomain) bool {
	return !td.IsZero() && i.TrustDomain() == td
}

// checkPath holds SPIFFE-ID §2.2: segments of [a-zA-Z0-9.-_], none of them
// empty, "." or "..", no trailing slash.
func checkPath(path string) error {
	for _, segment := range strings.Split(path[1:], "/") {
		switch segment {
		case "":
			return fmt.Errorf("path has an empty segment")
		case ".", "..":
			return fmt.Errorf("path has a dot segment")
		}
		for i := range len(segment) {
			if !isPathByte(segment[i]) {
				return fmt.Errorf("path has a character outside [a-zA-Z0-9.-_]")
			}
		}
	}
	return nil
}

func isTrustDomainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
}

func isPathByte(c byte) bool {
	return isTrustDomainByte(c) || c >= 'A' && c <= 'Z'
}
