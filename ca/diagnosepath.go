package ca

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// path is one way up from the leaf. The last certificate of an anchored path is
// an anchor.
type path struct {
	certs    []*x509.Certificate
	anchored bool
}

// explanation is a path with what was found on it.
type explanation struct {
	path  path
	found []Finding
}

// Bounds of the search for ways up: a file that was made to confuse must not keep
// an operator waiting. crypto/x509 itself stops after 100 signatures.
const (
	maxPaths      = 64
	maxSignatures = 1000
)

// explain finds the path with the fewest faults.
func (d *diagnosis) explain(chain, anchors []*x509.Certificate) explanation {
	s := &search{chain: chain, anchors: anchors, signatures: maxSignatures}
	s.climb([]*x509.Certificate{chain[0]})
	var best explanation
	fewest := -1
	for _, p := range s.paths {
		judge := &diagnosis{o: d.o}
		judge.walk(p)
		if !p.anchored {
			judge.anchorMissing(p.certs[len(p.certs)-1], anchors)
		}
		faults := 0
		for _, f := range judge.found {
			if f.Level == LevelFail {
				faults++
			}
		}
		if fewest < 0 || faults < fewest {
			best, fewest = explanation{p, judge.found}, faults
		}
	}
	return best
}

// search climbs from a leaf by every parent that fits.
type search struct {
	chain, anchors []*x509.Certificate
	paths          []path
	signatures     int // that may still be checked
}

// climb extends the path below by each candidate for the parent of its last
// certificate. Anchors come first: a path that can end does.
func (s *search) climb(below []*x509.Certificate) {
	child := below[len(below)-1]
	if slices.ContainsFunc(s.anchors, child.Equal) {
		s.end(path{below, true})
		return
	}
	anchors, between := s.parents(below)
	for _, a := range anchors {
		s.end(path{append(slices.Clip(below), a), true})
	}
	for _, c := range between {
		if len(s.paths) < maxPaths {
			s.climb(append(slices.Clip(below), c))
		}
	}
	if len(anchors)+len(between) == 0 {
		s.end(path{below, false})
	}
}

func (s *search) end(p path) {
	if len(s.paths) < maxPaths {
		s.paths = append(s.paths, p)
	}
}

// parents are the certificates that signed child, or failing that those that look
// as if they should have, or failing that the next of the file: a chain with a
// hole is explained to its end.
func (s *search) parents(below []*x509.Certificate) (anchors, between []*x509.Certificate) {
	child := below[len(below)-1]
	unused := func(c *x509.Certificate) bool { return !slices.ContainsFunc(below, c.Equal) }
	for _, fits := range []func(child, parent *x509.Certificate) bool{s.signed, resembles} {
		for _, a := range s.anchors {
			if unused(a) && fits(child, a) {
				anchors = append(anchors, a)
			}
		}
		for _, c := range s.chain[1:] {
			if unused(c) && fits(child, c) && !slices.ContainsFunc(s.anchors, c.Equal) {
				between = append(between, c)
			}
		}
		if len(anchors)+len(between) > 0 {
			return anchors, between
		}
	}
	if selfIssued(child) {
		return nil, nil
	}
	for i, c := range s.chain[:len(s.chain)-1] {
		if next := s.chain[i+1]; c == child && unused(next) {
			return nil, []*x509.Certificate{next}
		}
	}
	return nil, nil
}

// signed tells whether parent's key made child's signature and the names agree.
func (s *search) signed(child, parent *x509.Certificate) bool {
	if s.signatures == 0 || isBroken(child.SignatureAlgorithm) || !bytes.Equal(child.RawIssuer, parent.RawSubject) {
		return false
	}
	s.signatures--
	return parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil
}

// resembles tells whether parent has the name or the key that child says its
// issuer has.
func resembles(child, parent *x509.Certificate) bool {
	return bytes.Equal(child.RawIssuer, parent.RawSubject) ||
		len(child.AuthorityKeyId) > 0 && bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId)
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }

// walk judges every certificate and every link of a path.
func (d *diagnosis) walk(p path) {
	for i, c := range p.certs {
		top := p.anchored && i == len(p.certs)-1
		if len(c.UnhandledCriticalExtensions) > 0 {
			d.fail("critical-extension", c, fmt.Sprintf("critical extension %v is not understood", c.UnhandledCriticalExtensions), "verifiers must refuse it (RFC 5280 §4.2); issue it again without")
		}
		d.dates(c)
		d.usage(c, i > 0)
		d.approved(c, top)
		if i > 0 {
			d.authority(c, i-1, top)
			d.link(p.certs[i-1], c)
		}
		if i == 1 {
			d.trustDomain(p.certs[0], c)
		}
		if top {
			d.ok("anchor", c, "is a trust anchor, sha256 "+shortID(c))
		}
	}
}

// soon is the part of a lifetime at which an end that is near becomes a warning.
const soon = 10

func (d *diagnosis) dates(c *x509.Certificate) {
	life, left := c.NotAfter.Sub(c.NotBefore), c.NotAfter.Sub(d.o.At)
	switch {
	case d.o.At.Before(c.NotBefore):
		d.fail("not-yet-valid", c, fmt.Sprintf("it begins at %s, %s later", stamp(c.NotBefore), span(c.NotBefore.Sub(d.o.At))), "compare the clocks of issuer and verifier")
	case d.o.At.After(c.NotAfter):
		d.fail("expired", c, fmt.Sprintf("it ended at %s, %s earlier", stamp(c.NotAfter), span(-left)), expiredNext(c))
	case left < life/soon:
		d.warn("ends-soon", c, fmt.Sprintf("it ends at %s, %s later", stamp(c.NotAfter), span(left)), expiredNext(c))
	default:
		d.ok("dates", c, "valid until "+stamp(c.NotAfter))
	}
}

func expiredNext(c *x509.Certificate) string {
	switch {
	case !c.IsCA:
		return "renew it: ca renew"
	case selfIssued(c):
		return "rotate the anchor; after its end: ca repair"
	}
	return "a new intermediate comes by itself; see ca check"
}

// span is a duration as people compare it: days where there are some.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 2*day {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// usage holds extended key usage, which a CA certificate restricts for everything
// below it (crypto/x509 and others nest it).
func (d *diagnosis) usage(c *x509.Certificate, isParent bool) {
	want := d.o.Usage
	if want == x509.ExtKeyUsageAny || allows(c, want) {
		return
	}
	id := "leaf-ext-key-usage"
	if isParent {
		id = "ext-key-usage"
	}
	d.fail(id, c, "its extended key usage does not allow what is wanted", "issue it with both client and server authentication")
}

func allows(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// approved asks the FIPS policy about key and signature. The signature of an
// anchor proves nothing and is not asked about.
func (d *diagnosis) approved(c *x509.Certificate, isAnchor bool) {
	if d.o.FIPS.Name() == "" {
		return
	}
	use := fips.UseLeaf
	if c.IsCA {
		use = fips.UseCA
	}
	decisions := []fips.Decision{d.o.FIPS.CheckKey(c.PublicKey, use, c.NotAfter)}
	if !isAnchor {
		decisions = append(decisions, d.o.FIPS.CheckSignatureAlgorithm(c.SignatureAlgorithm))
	}
	for _, decision := range decisions {
		if !decision.Allow {
			d.warn("not-approved", c, fmt.Sprintf("%s: %s (policy %s, %s)", decision.Code, decision.Detail, d.o.FIPS.Name(), decision.Standard), "verifiers in FIPS mode may refuse it; issue it with an approved key and hash")
		}
	}
}

// authority holds what a certificate above the leaf must be; below counts the CA
// certificates between it and the leaf (RFC 5280 §4.2.1.9).
func (d *diagnosis) authority(c *x509.Certificate, below int, isAnchor bool) {
	limited := c.MaxPathLen > 0 || c.MaxPathLenZero
	switch {
	case isAnchor && c.Version < 3:
		d.warn("old-version", c, fmt.Sprintf("it is an X.509 version %d certificate, which cannot say that it is a CA", c.Version), "some verifiers refuse it; make a new root")
	case !c.BasicConstraintsValid || !c.IsCA:
		d.fail("not-a-ca", c, "it is no CA certificate but stands above another", "check the order and the origin of the chain")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		d.fail("no-cert-sign", c, "its key usage does not allow signing certificates", "issue the CA certificate again with keyCertSign")
	case limited && below > c.MaxPathLen:
		d.fail("path-length", c, fmt.Sprintf("its path length is %d, but %d CA certificates are below it", c.MaxPathLen, below), "shorten the chain, or issue this certificate with a longer path")
	default:
		d.ok("ca", c, "may sign what is below it")
	}
}

// link holds that parent signed child.
func (d *diagnosis) link(child, parent *x509.Certificate) {
	const takeIssued = "use the CA certificate that was issued with it"
	otherKey := len(child.AuthorityKeyId) > 0 && len(parent.SubjectKeyId) > 0 && !bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId)
	keys := fmt.Sprintf("its authority key identifier is %x, the key identifier of %s is %x", child.AuthorityKeyId, nameOf(parent), parent.SubjectKeyId)
	switch {
	case !bytes.Equal(child.RawIssuer, parent.RawSubject):
		d.fail("issuer-name", child, fmt.Sprintf("its issuer is %q, the next certificate is %q", child.Issuer, parent.Subject), "the certificate of its issuer is missing, or belongs elsewhere in the chain")
		return
	case isBroken(child.SignatureAlgorithm):
		d.fail("signature-algorithm", child, "it is signed with "+child.SignatureAlgorithm.String()+", which nobody accepts in a certificate", "issue it again with SHA-256 or better")
		return
	}
	err := parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature)
	switch {
	case err != nil && otherKey:
		d.fail("key-id", child, keys, "two CAs have one name: "+takeIssued)
	case err != nil:
		d.fail("signature", child, fmt.Sprintf("its signature is not by the key of %s: %v", nameOf(parent), err), takeIssued)
	case otherKey:
		d.warn("key-id", child, keys, "OpenSSL and Envoy refuse this, crypto/x509 does not; "+takeIssued)
	default:
		d.ok("signed-by", child, "signed by "+nameOf(parent))
	}
}

// isBroken names the hashes that crypto/x509 refuses in certificates, whatever
// the policy. Such a signature is not even computed: in one of its modes the native
// module panics.
func isBroken(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
		return true
	}
	return false
}

// trustDomain holds that a leaf's issuer, where it names a trust domain, names the
// leaf's (X509-SVID §3.2). Path validation does not look at it; verifiers choose
// their bundle by trust domain and so will not find this anchor.
func (d *diagnosis) trustDomain(leaf, issuer *x509.Certificate) {
	if leaf.IsCA || len(leaf.URIs) != 1 || len(issuer.URIs) != 1 {
		return
	}
	id, err := ParseIdentity(leaf.URIs[0].String())
	if err != nil || issuer.URIs[0].String() == id.TrustDomain().URI() {
		return
	}
	d.warn("trust-domain", issuer, fmt.Sprintf("it is of %s, the leaf is of %s", issuer.URIs[0], id.TrustDomain().URI()), "a CA should vouch for its own trust domain only; check who issued the leaf")
}

// anchorMissing says which anchor a path wants and why those that are there are
// not it.
func (d *diagnosis) anchorMissing(last *x509.Certificate, anchors []*x509.Certificate) {
	const id, getBundle = "anchor-missing", "get the bundle of the trust domain that issued it, or finish the rotation that removed its anchor"
	if len(anchors) == 0 {
		d.fail(id, last, "there are no trust anchors", getBundle)
		return
	}
	have := ""
	for _, a := range anchors {
		have += fmt.Sprintf("; there is %s, sha256 %s", nameOf(a), shortID(a))
	}
	if selfIssued(last) {
		d.fail(id, last, fmt.Sprintf("it is a root, sha256 %s, but none of the %d trust anchors%s", shortID(last), len(anchors), have), getBundle)
		return
	}
	d.fail(id, last, fmt.Sprintf("its issuer %q (key %x) is neither in the chain nor one of the %d trust anchors%s", last.Issuer, last.AuthorityKeyId, len(anchors), have), getBundle)
}

// rest says what of the file was not needed, and whether the order was right.
func (d *diagnosis) rest(chain, used []*x509.Certificate) {
	at := 0
	for _, c := range used {
		i := slices.IndexFunc(chain, c.Equal)
		if i >= 0 && i < at {
			d.warn("chain-order", c, "it stands too early in the file", "order the file from the leaf up; TLS 1.2 peers may refuse it (RFC 5246 §7.4.2)")
		}
		at = max(at, i)
	}
	for _, c := range chain {
		if !slices.ContainsFunc(used, c.Equal) {
			d.ok("not-needed", c, "the path to the anchor does without it")
		}
	}
}
