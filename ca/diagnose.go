package ca

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// Level is how bad a finding is.
type Level string

// The levels. A chain verifies exactly when no finding is LevelFail.
const (
	LevelOK   Level = "ok"
	LevelWarn Level = "warn"
	LevelFail Level = "fail"
)

// Finding is one thing that was looked at in a chain.
type Finding struct {
	ID      string `json:"id"` // stable
	Level   Level  `json:"level"`
	Subject string `json:"subject"` // the certificate that it is about
	Detail  string `json:"detail"`
	Next    string `json:"next,omitempty"` // what to do about it
}

// DiagnoseOptions say what the chain is wanted for; zero fields ask nothing.
type DiagnoseOptions struct {
	At       time.Time        // judged at this moment
	Identity string           // the leaf must name exactly this SPIFFE ID
	Usage    x509.ExtKeyUsage // the leaf must allow this; x509.ExtKeyUsageAny asks nothing
	FIPS     fips.Policy      // keys and signatures must be approved by it
}

// soon is when an end that is near becomes a warning.
const soon = 10 // a tenth of the lifetime

// Diagnose explains why a chain (the leaf first) does or does not verify against
// anchors: every link is looked at, and every fault is named, not the first only.
func Diagnose(chain, anchors []*x509.Certificate, o DiagnoseOptions) []Finding {
	d := &diagnosis{o: o}
	if len(chain) == 0 {
		d.add(Finding{ID: "chain-empty", Level: LevelFail, Detail: "there is no certificate"})
		return d.found
	}
	d.leaf(chain[0])
	for i, c := range chain {
		d.dates(c)
		d.approved(c)
		if i > 0 {
			d.authority(c, i-1)
			d.link(chain[i-1], c)
		}
	}
	d.anchor(chain, anchors)
	return d.found
}

type diagnosis struct {
	o     DiagnoseOptions
	found []Finding
}

func (d *diagnosis) add(f Finding) { d.found = append(d.found, f) }

func (d *diagnosis) ok(id string, c *x509.Certificate, format string, args ...any) {
	d.add(Finding{ID: id, Level: LevelOK, Subject: nameOf(c), Detail: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) fail(id string, c *x509.Certificate, detail, next string) {
	d.add(Finding{ID: id, Level: LevelFail, Subject: nameOf(c), Detail: detail, Next: next})
}

// nameOf is how people tell certificates apart: the SPIFFE ID of a leaf, the
// common name of a CA.
func nameOf(c *x509.Certificate) string {
	if len(c.URIs) > 0 && c.Subject.CommonName == "" {
		return c.URIs[0].String()
	}
	if c.Subject.CommonName != "" {
		return c.Subject.CommonName
	}
	return fmt.Sprintf("serial %x", c.SerialNumber)
}

// leaf holds X509-SVID §2, §4 and what the caller wants of it.
func (d *diagnosis) leaf(c *x509.Certificate) {
	switch {
	case len(c.URIs) != 1:
		d.fail("leaf-one-uri", c, fmt.Sprintf("it has %d URI names", len(c.URIs)), "a workload's certificate names exactly one SPIFFE ID")
	default:
		id, err := ParseIdentity(c.URIs[0].String())
		switch {
		case err != nil && !c.IsCA:
			d.fail("leaf-spiffe-id", c, err.Error(), "")
		case d.o.Identity != "" && id.String() != d.o.Identity:
			d.fail("leaf-identity", c, "it is not "+d.o.Identity, "")
		default:
			d.ok("leaf-identity", c, "one SPIFFE ID")
		}
	}
	if d.o.Usage != 0 && d.o.Usage != x509.ExtKeyUsageAny && !allows(c, d.o.Usage) {
		d.fail("leaf-ext-key-usage", c, "its extended key usage does not allow what is wanted", "")
	}
	if len(c.UnhandledCriticalExtensions) > 0 {
		d.fail("critical-extension", c, fmt.Sprintf("critical extension %v is not understood", c.UnhandledCriticalExtensions), "")
	}
}

func allows(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	for _, u := range c.ExtKeyUsage {
		if u == usage || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

func (d *diagnosis) dates(c *x509.Certificate) {
	life, left := c.NotAfter.Sub(c.NotBefore), c.NotAfter.Sub(d.o.At)
	switch {
	case d.o.At.Before(c.NotBefore):
		d.fail("not-yet-valid", c, fmt.Sprintf("it begins at %s, %s from now", stamp(c.NotBefore), c.NotBefore.Sub(d.o.At).Round(time.Second)), "compare the clocks")
	case left < 0:
		d.fail("expired", c, fmt.Sprintf("it ended at %s, %s ago", stamp(c.NotAfter), (-left).Round(time.Second)), "renew it")
	case left < life/soon:
		d.add(Finding{ID: "ends-soon", Level: LevelWarn, Subject: nameOf(c), Detail: fmt.Sprintf("it ends at %s", stamp(c.NotAfter)), Next: "renew it"})
	default:
		d.ok("dates", c, "valid until %s", stamp(c.NotAfter))
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// approved asks the FIPS policy about key and signature. A refusal is a warning
// where plain verifiers accept the chain all the same.
func (d *diagnosis) approved(c *x509.Certificate) {
	if d.o.FIPS.Name() == "" {
		return
	}
	use := fips.UseLeaf
	if c.IsCA {
		use = fips.UseCA
	}
	for _, decision := range []fips.Decision{d.o.FIPS.CheckKey(c.PublicKey, use, c.NotAfter), d.o.FIPS.CheckSignatureAlgorithm(c.SignatureAlgorithm)} {
		if !decision.Allow {
			d.add(Finding{ID: "not-approved", Level: LevelWarn, Subject: nameOf(c), Detail: decision.Code + ": " + decision.Detail, Next: "verifiers in FIPS mode may refuse it"})
		}
	}
}

// authority holds what a certificate above the leaf must be; below counts the CA
// certificates between it and the leaf (RFC 5280 §4.2.1.9).
func (d *diagnosis) authority(c *x509.Certificate, below int) {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		d.fail("not-a-ca", c, "it is no CA certificate but stands above another", "check the order and the origin of the chain")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		d.fail("no-cert-sign", c, "its key usage does not allow signing certificates", "")
	case (c.MaxPathLen > 0 || c.MaxPathLenZero) && below > c.MaxPathLen:
		d.fail("path-length", c, fmt.Sprintf("path length %d, but %d CA certificates below it", c.MaxPathLen, below), "")
	default:
		d.ok("ca", c, "may sign what is below it")
	}
}

// link holds that parent signed child.
func (d *diagnosis) link(child, parent *x509.Certificate) {
	switch {
	case !bytes.Equal(child.RawIssuer, parent.RawSubject):
		d.fail("issuer-name", child, fmt.Sprintf("its issuer is %q, the next certificate is %q", child.Issuer, parent.Subject), "the chain is out of order, or a certificate is missing")
	case len(child.AuthorityKeyId) > 0 && len(parent.SubjectKeyId) > 0 && !bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId):
		d.fail("key-id", child, fmt.Sprintf("it was signed by key %x, the next certificate has key %x", child.AuthorityKeyId, parent.SubjectKeyId), "use the intermediate that was issued with it")
	case parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) != nil:
		d.fail("signature", child, "its signature is not by the next certificate's key", "use the intermediate that was issued with it")
	default:
		d.ok("signed-by", child, "signed by %s", nameOf(parent))
	}
}

// anchor holds that the chain ends in one of the anchors.
func (d *diagnosis) anchor(chain, anchors []*x509.Certificate) {
	last := chain[len(chain)-1]
	for _, a := range anchors {
		if bytes.Equal(a.Raw, last.Raw) && len(chain) > 1 {
			d.ok("anchor", last, "is a trust anchor")
			return
		}
	}
	for _, a := range anchors {
		if bytes.Equal(last.RawIssuer, a.RawSubject) && a.CheckSignature(last.SignatureAlgorithm, last.RawTBSCertificate, last.Signature) == nil {
			d.ok("anchor", last, "signed by trust anchor %s", nameOf(a))
			d.dates(a)
			d.approved(a)
			d.authority(a, len(chain)-1)
			return
		}
	}
	d.fail("anchor-missing", last, fmt.Sprintf("its issuer %q (key %x) is none of the %d trust anchors", last.Issuer, last.AuthorityKeyId, len(anchors)), "get the bundle of the trust domain that issued it, or finish the rotation that removed its anchor")
}
