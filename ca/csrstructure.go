package ca

import (
	"encoding/asn1"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers of RFC 5280 §4.2.1 and RFC 2985 §5.4.2.
var (
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidOrganization     = asn1.ObjectIdentifier{2, 5, 4, 10}

	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}

	oidServerAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	oidClientAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
)

// Tags of GeneralName, context-specific and primitive (RFC 5280 §4.2.1.6).
const (
	tagDNS = cbasn1.Tag(0x80 | 2)
	tagURI = cbasn1.Tag(0x80 | 6)
	tagIP  = cbasn1.Tag(0x80 | 7)
)

// csrContract is what a CSR may hold. Its zero value is that of a CSR for a SPIFFE
// ID or for no name.
type csrContract struct {
	// dnsName, if set, must be the one name of the CSR, and may be its common name:
	// what Linkerd's proxies send.
	dnsName string
}

// read walks a PKCS#10 request (RFC 2986 §4.1) and refuses every part that a
// workload's request has no use for. It returns the one URI that the request asks
// for, "" if none. The bytes of the URI are returned as they stand: url.Parse would
// give two spellings one meaning.
func (c csrContract) read(der []byte) (string, error) {
	input := cryptobyte.String(der)
	var request, info cryptobyte.String
	if !input.ReadASN1(&request, cbasn1.SEQUENCE) || !input.Empty() || !request.ReadASN1(&info, cbasn1.SEQUENCE) {
		return "", Refuse(ReasonCSREncoding, "not one PKCS#10 sequence")
	}
	var subject, attributes cryptobyte.String
	if !info.SkipASN1(cbasn1.INTEGER) || !info.ReadASN1(&subject, cbasn1.SEQUENCE) || !info.SkipASN1(cbasn1.SEQUENCE) {
		return "", Refuse(ReasonCSREncoding, "incomplete request information")
	}
	if err := c.readSubject(subject); err != nil {
		return "", err
	}
	if !info.ReadASN1(&attributes, cbasn1.Tag(0).Constructed().ContextSpecific()) || !info.Empty() {
		return "", Refuse(ReasonCSREncoding, "bytes after the attributes")
	}
	return c.readAttributes(attributes)
}

// readSubject accepts the subjects that proxies send: none at all (ztunnel), a
// single empty Organization (Istio's pilot-agent), and where a DNS name is asked
// for, that name as the CommonName (Linkerd's proxy), however long: X.520 allows 64
// bytes, and as nothing of a subject is copied, no certificate breaks that.
func (c csrContract) readSubject(subject cryptobyte.String) error {
	if subject.Empty() {
		return nil
	}
	var rdn, attribute, value cryptobyte.String
	var oid asn1.ObjectIdentifier
	var tag cbasn1.Tag
	ok := subject.ReadASN1(&rdn, cbasn1.SET) && subject.Empty() &&
		rdn.ReadASN1(&attribute, cbasn1.SEQUENCE) && rdn.Empty() &&
		attribute.ReadASN1ObjectIdentifier(&oid) && attribute.ReadAnyASN1(&value, &tag) && attribute.Empty()
	isText := tag == cbasn1.UTF8String || tag == cbasn1.PrintableString
	switch {
	case ok && oid.Equal(oidOrganization) && value.Empty():
		return nil
	case ok && oid.Equal(oidCommonName) && isText && c.dnsName != "" && string(value) == c.dnsName:
		return nil
	case c.dnsName != "":
		return Refuse(ReasonCSRSubject, "subject is neither empty nor the common name %q", c.dnsName)
	}
	return Refuse(ReasonCSRSubject, "subject is neither empty nor a single empty organization")
}

func (c csrContract) readAttributes(attributes cryptobyte.String) (string, error) {
	if attributes.Empty() {
		return "", c.checkNamed(false)
	}
	var attribute, values, extensions cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !attributes.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) {
		return "", Refuse(ReasonCSREncoding, "malformed attribute")
	}
	if !oid.Equal(oidExtensionRequest) || !attributes.Empty() {
		return "", Refuse(ReasonCSRAttribute, "attribute %s, or more than one", oid)
	}
	if !attribute.ReadASN1(&values, cbasn1.SET) || !attribute.Empty() ||
		!values.ReadASN1(&extensions, cbasn1.SEQUENCE) || !values.Empty() {
		return "", Refuse(ReasonCSREncoding, "malformed extension request")
	}
	return c.readExtensions(extensions)
}

func (c csrContract) readExtensions(extensions cryptobyte.String) (string, error) {
	var asked string
	var seen []asn1.ObjectIdentifier
	for !extensions.Empty() {
		var extension, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		ok := extensions.ReadASN1(&extension, cbasn1.SEQUENCE) && extension.ReadASN1ObjectIdentifier(&oid) &&
			skipCritical(&extension) && extension.ReadASN1(&value, cbasn1.OCTET_STRING) && extension.Empty()
		if !ok {
			return "", Refuse(ReasonCSREncoding, "malformed extension")
		}
		for _, s := range seen {
			if s.Equal(oid) {
				return "", Refuse(ReasonCSRExtension, "extension %s twice", oid)
			}
		}
		seen = append(seen, oid)
		uri, err := c.readExtension(oid, value)
		if err != nil {
			return "", err
		}
		if uri != "" {
			asked = uri
		}
	}
	return asked, c.checkNamed(slices.ContainsFunc(seen, oidSubjectAltName.Equal))
}

// checkNamed refuses a CSR without the name that it must have.
func (c csrContract) checkNamed(hasNames bool) error {
	if c.dnsName != "" && !hasNames {
		return Refuse(ReasonCSRNames, "no DNS name")
	}
	return nil
}

func skipCritical(extension *cryptobyte.String) bool {
	if !extension.PeekASN1Tag(cbasn1.BOOLEAN) {
		return true
	}
	var critical bool
	return extension.ReadASN1Boolean(&critical)
}

// readExtension accepts the extensions that real proxies ask for, within the
// values that a workload's certificate has anyway, and refuses all others.
func (c csrContract) readExtension(oid asn1.ObjectIdentifier, value cryptobyte.String) (string, error) {
	switch {
	case oid.Equal(oidSubjectAltName):
		return c.readAltNames(value)
	case oid.Equal(oidBasicConstraints):
		return "", readBasicConstraints(value)
	case oid.Equal(oidKeyUsage):
		return "", readKeyUsage(value)
	case oid.Equal(oidExtKeyUsage):
		return "", readExtKeyUsage(value)
	}
	return "", Refuse(ReasonCSRExtension, "extension %s", oid)
}

// readAltNames wants exactly one URI and nothing else, or exactly the DNS name.
// Several URIs are how CVE-2022-40716 got one workload another's identity.
func (c csrContract) readAltNames(value cryptobyte.String) (string, error) {
	var names, uri, dns cryptobyte.String
	if !value.ReadASN1(&names, cbasn1.SEQUENCE) || !value.Empty() {
		return "", Refuse(ReasonCSREncoding, "malformed subject alternative name")
	}
	if c.dnsName != "" {
		if !names.ReadASN1(&dns, tagDNS) || !names.Empty() || string(dns) != c.dnsName {
			return "", Refuse(ReasonCSRNames, "not exactly the DNS name %q", c.dnsName)
		}
		return "", nil
	}
	if !names.ReadASN1(&uri, tagURI) || !names.Empty() || uri.Empty() {
		return "", Refuse(ReasonCSRNames, "not exactly one URI")
	}
	return string(uri), nil
}

func readBasicConstraints(value cryptobyte.String) error {
	var constraints cryptobyte.String
	if !value.ReadASN1(&constraints, cbasn1.SEQUENCE) || !value.Empty() {
		return Refuse(ReasonCSREncoding, "malformed basic constraints")
	}
	isCA := false
	if constraints.PeekASN1Tag(cbasn1.BOOLEAN) && !constraints.ReadASN1Boolean(&isCA) {
		return Refuse(ReasonCSREncoding, "malformed basic constraints")
	}
	if isCA || !constraints.Empty() {
		return Refuse(ReasonCSRCA, "basic constraints ask for a CA")
	}
	return nil
}

// readKeyUsage allows digitalSignature, keyEncipherment and keyAgreement: RFC
// 5280 §4.2.1.3 bits 0, 2 and 4.
func readKeyUsage(value cryptobyte.String) error {
	var bits asn1.BitString
	if !value.ReadASN1BitString(&bits) || !value.Empty() {
		return Refuse(ReasonCSREncoding, "malformed key usage")
	}
	for i := range bits.BitLength {
		if bits.At(i) == 0 {
			continue
		}
		switch i {
		case 0, 2, 4:
		case 5, 6:
			return Refuse(ReasonCSRCA, "key usage bit %d signs certificates or CRLs", i)
		default:
			return Refuse(ReasonCSRUsage, "key usage bit %d", i)
		}
	}
	return nil
}

// readExtKeyUsage allows serverAuth and clientAuth. An empty sequence is refused:
// it crashed another CA (CVE-2026-40097).
func readExtKeyUsage(value cryptobyte.String) error {
	var usages cryptobyte.String
	if !value.ReadASN1(&usages, cbasn1.SEQUENCE) || !value.Empty() || usages.Empty() {
		return Refuse(ReasonCSREncoding, "malformed extended key usage")
	}
	for !usages.Empty() {
		var oid asn1.ObjectIdentifier
		if !usages.ReadASN1ObjectIdentifier(&oid) {
			return Refuse(ReasonCSREncoding, "malformed extended key usage")
		}
		if !oid.Equal(oidServerAuth) && !oid.Equal(oidClientAuth) {
			return Refuse(ReasonCSRUsage, "extended key usage %s", oid)
		}
	}
	return nil
}
