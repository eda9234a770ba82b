package ca

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// leafWant is what a leaf must be, stated independently of the code that
// encoded it.
type leafWant struct {
	profile  *Profile
	identity Identity
	hosts    hosts
	spki     []byte
	keyID    []byte
	issuer   *Intermediate
	now      time.Time
	ttl      time.Duration
}

// leafCheck is one MUST of docs/certificate-spec.md.
type leafCheck struct {
	id     string // stable, the same in the document
	clause string // where the MUST comes from
	run    func(c *x509.Certificate, w leafWant) error
}

// leafChecks run on the parsed form of the exact bytes that will be signed,
// before they are signed.
var leafChecks = []leafCheck{
	{"leaf-version-3", "RFC 5280 §4.1.2.1", checkVersion},
	{"leaf-serial", "RFC 5280 §4.1.2.2", checkSerial},
	{"leaf-issuer", "RFC 5280 §4.1.2.4", checkIssuer},
	{"leaf-subject-empty", "X509-SVID §2", checkSubject},
	{"leaf-identity", "X509-SVID §2", checkIdentityNames},
	{"leaf-account-name", "docs/certificate-spec.md", checkAccountName},
	{"leaf-public-key", "RFC 5280 §4.1.2.7", checkPublicKey},
	{"leaf-not-ca", "X509-SVID §4.1", checkNotCA},
	{"leaf-key-usage", "X509-SVID §4.3", checkKeyUsage},
	{"leaf-ext-key-usage", "X509-SVID §4.4", checkExtKeyUsage},
	{"leaf-key-ids", "RFC 5280 §4.2.1.1, RFC 7093 §2", checkKeyIDs},
	{"leaf-extension-set", "RFC 5280 §4.2", checkExtensionSet},
	{"leaf-lifetime", "RFC 5280 §4.1.2.5", checkLifetime},
	{"leaf-within-issuer", "RFC 5280 §6.1.3", checkWithinIssuer},
}

// checkLeaf runs every check and names the first that fails.
func checkLeaf(c *x509.Certificate, w leafWant) error {
	for i := range leafChecks {
		if err := leafChecks[i].run(c, w); err != nil {
			return fmt.Errorf("check %s (%s): %w", leafChecks[i].id, leafChecks[i].clause, err)
		}
	}
	return nil
}

func checkVersion(c *x509.Certificate, _ leafWant) error {
	if c.Version != 3 {
		return fmt.Errorf("version %d", c.Version)
	}
	return nil
}

func checkSerial(c *x509.Certificate, _ leafWant) error {
	if bits := c.SerialNumber.BitLen(); c.SerialNumber.Sign() <= 0 || bits > 159 || bits < 100 {
		return fmt.Errorf("serial has %d bits", bits)
	}
	return nil
}

func checkIssuer(c *x509.Certificate, w leafWant) error {
	if !bytes.Equal(c.RawIssuer, w.issuer.cert.RawSubject) {
		return fmt.Errorf("issuer name is not the intermediate's")
	}
	if c.SignatureAlgorithm != w.issuer.scheme.Algorithm {
		return fmt.Errorf("signature algorithm %s", c.SignatureAlgorithm)
	}
	return nil
}

func checkSubject(c *x509.Certificate, _ leafWant) error {
	if !bytes.Equal(c.RawSubject, emptyName) {
		return fmt.Errorf("subject is not empty")
	}
	return nil
}

// checkIdentityNames reads the raw SAN: the parsed URI may look alike where the
// bytes differ.
func checkIdentityNames(c *x509.Certificate, w leafWant) error {
	if len(c.URIs) != 1 {
		return fmt.Errorf("%d URI names", len(c.URIs))
	}
	granted := w.hosts
	if !slices.Equal(c.DNSNames, granted.dnsNames) || len(c.IPAddresses) != len(granted.addrs) {
		return fmt.Errorf("host names are not the profile's")
	}
	if len(c.EmailAddresses) != 0 {
		return fmt.Errorf("names of other kinds")
	}
	want := altNames(granted, w.identity.String(), true)
	for _, e := range c.Extensions {
		if e.Id.Equal(oidSubjectAltName) && e.Critical && bytes.Equal(e.Value, want.value) {
			return nil
		}
	}
	return fmt.Errorf("alternative name is not critical or has other bytes")
}

// checkAccountName reads the DNS name backwards: the service account that it names
// must be the one of the identity.
func checkAccountName(c *x509.Certificate, w leafWant) error {
	if w.profile.account == "" {
		return nil
	}
	if len(c.DNSNames) != 1 || len(c.IPAddresses) != 0 {
		return fmt.Errorf("%d DNS names and %d addresses", len(c.DNSNames), len(c.IPAddresses))
	}
	account, rest, _ := strings.Cut(c.DNSNames[0], ".")
	namespace, domain, _ := strings.Cut(rest, ".")
	own, err := w.identity.TrustDomain().ServiceAccount(namespace, account)
	if err != nil || own != w.identity || domain != w.profile.account {
		return fmt.Errorf("DNS name %q is not that of %s", c.DNSNames[0], w.identity)
	}
	return nil
}

func checkPublicKey(c *x509.Certificate, w leafWant) error {
	if !bytes.Equal(c.RawSubjectPublicKeyInfo, w.spki) {
		return fmt.Errorf("public key is not the request's")
	}
	return nil
}

func checkNotCA(c *x509.Certificate, _ leafWant) error {
	if !c.BasicConstraintsValid || c.IsCA {
		return fmt.Errorf("basic constraints do not say CA:FALSE")
	}
	return nil
}

func checkKeyUsage(c *x509.Certificate, _ leafWant) error {
	want := x509.KeyUsageDigitalSignature
	if _, isRSA := c.PublicKey.(*rsa.PublicKey); isRSA {
		want |= x509.KeyUsageKeyEncipherment
	}
	if c.KeyUsage != want {
		return fmt.Errorf("key usage %b, want %b", c.KeyUsage, want)
	}
	return nil
}

func checkExtKeyUsage(c *x509.Certificate, w leafWant) error {
	want := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}[:len(w.profile.usages)]
	if !slices.Equal(c.ExtKeyUsage, want) || len(c.UnknownExtKeyUsage) != 0 {
		return fmt.Errorf("extended key usage is not the profile's")
	}
	return nil
}

func checkKeyIDs(c *x509.Certificate, w leafWant) error {
	if !bytes.Equal(c.SubjectKeyId, w.keyID) || len(c.SubjectKeyId) != 20 {
		return fmt.Errorf("subject key id is not that of the key")
	}
	if !bytes.Equal(c.AuthorityKeyId, w.issuer.cert.SubjectKeyId) {
		return fmt.Errorf("authority key id is not the intermediate's")
	}
	return nil
}

// leafExtensions is the exact set of extensions of a leaf, with criticality.
var leafExtensions = []struct {
	oid      asn1.ObjectIdentifier
	critical bool
}{
	{oidKeyUsage, true}, {oidExtKeyUsage, false}, {oidBasicConstraints, true},
	{oidSubjectKeyID, false}, {oidAuthorityKeyID, false}, {oidSubjectAltName, true},
}

func checkExtensionSet(c *x509.Certificate, _ leafWant) error {
	if len(c.Extensions) != len(leafExtensions) {
		return fmt.Errorf("%d extensions", len(c.Extensions))
	}
	for i, want := range leafExtensions {
		if e := c.Extensions[i]; !e.Id.Equal(want.oid) || e.Critical != want.critical {
			return fmt.Errorf("extension %d is %s, critical %t", i, e.Id, e.Critical)
		}
	}
	return nil
}

func checkLifetime(c *x509.Certificate, w leafWant) error {
	if c.NotBefore.After(w.now) {
		return fmt.Errorf("begins in the future")
	}
	if c.NotAfter.Sub(w.now) > w.profile.maxTTL || !c.NotAfter.After(w.now) {
		return fmt.Errorf("ends at %s", c.NotAfter)
	}
	if backdate := w.now.Truncate(time.Second).Sub(c.NotBefore); backdate > min(w.profile.backdate, w.ttl/backdateShare) {
		return fmt.Errorf("begins %s before now, more than %s or a tenth of %s", backdate, w.profile.backdate, w.ttl)
	}
	return nil
}

func checkWithinIssuer(c *x509.Certificate, w leafWant) error {
	if c.NotAfter.After(w.issuer.notAfter) {
		return fmt.Errorf("outlives its chain, which ends at %s", w.issuer.notAfter)
	}
	return nil
}

func splitLabels(name string) iter.Seq[string] { return strings.SplitSeq(name, ".") }
