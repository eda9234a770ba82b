package ca

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	LevelOK   Level = "ok"
	LevelWarn Level = "warn"
	LevelFail Level = "fail"
)

// Finding is one thing that was looked at in a chain.
type Finding struct {
	ID      string `json:"id"` // stable; docs/checks.md explains each
	Level   Level  `json:"level"`
	Subject string `json:"subject"` // the certificate that it is about
	Detail  string `json:"detail"`
	Next    string `json:"next,omitempty"` // what to do about it
}

// DiagnoseOptions say what the chain is wanted for; At is needed, the other zero
// fields ask nothing.
type DiagnoseOptions struct {
	At       time.Time        // judged at this moment
	Identity Identity         // the leaf must name exactly this SPIFFE ID
	Usage    x509.ExtKeyUsage // the leaf must allow this; zero is x509.ExtKeyUsageAny
	FIPS     fips.Policy      // keys and signatures should be approved by it
}

// Diagnose explains why a chain (the leaf first) does or does not verify against
// anchors: every link is looked at, and every fault is named, not the first only.
// It builds the path as verifiers do, so a chain that carries a bridge between two
// anchors is judged by the anchor that is there; of several broken paths it shows
// the one with the fewest faults.
//
// No finding is LevelFail exactly when the chain verifies (crypto/x509, RFC 5280
// §6) and its leaf may be used as an X509-SVID (§5). What only some verifiers
// refuse, and what the FIPS policy alone refuses, is LevelWarn. A chain whose
// first certificate is a CA is judged as one and need not name a workload.
func Diagnose(chain, anchors []*x509.Certificate, o DiagnoseOptions) []Finding {
	if len(chain) == 0 {
		return []Finding{{ID: "chain-empty", Level: LevelFail, Detail: "there is no certificate", Next: "name a file that begins with the leaf"}}
	}
	d := &diagnosis{o: o}
	if o.At.IsZero() {
		d.o.At = time.Unix(0, 0) // to crypto/x509 the zero time would mean the clock
	}
	verified, refusal := verify(chain, anchors, d.o)
	d.leaf(chain[0])
	if refusal == nil {
		d.walk(verified)
	} else {
		best := d.explain(chain, anchors)
		d.found = append(d.found, best.found...)
		verified = best.path
		if !hasFault(best.found) {
			d.found = append(d.found, unexplained(chain[0], refusal))
		}
	}
	d.rest(chain, verified.certs)
	return d.found
}

// verify asks crypto/x509, the verifier of every Go mesh component.
func verify(chain, anchors []*x509.Certificate, o DiagnoseOptions) (path, error) {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range anchors {
		roots.AddCert(a)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: o.At, KeyUsages: []x509.ExtKeyUsage{o.Usage},
	})
	if err != nil {
		return path{}, err
	}
	return path{certs: chains[0], anchored: true}, nil
}

// unexplained is the verdict of crypto/x509 where no rule of this file found the
// reason: name constraints and policies, which no mesh CA should have.
func unexplained(leaf *x509.Certificate, refusal error) Finding {
	return Finding{ID: "refused", Level: LevelFail, Subject: nameOf(leaf), Detail: refusal.Error(), Next: "look for name constraints and policies in the CA certificates"}
}

func hasFault(found []Finding) bool {
	for _, f := range found {
		if f.Level == LevelFail {
			return true
		}
	}
	return false
}

// diagnosis collects findings.
type diagnosis struct {
	o     DiagnoseOptions
	found []Finding
}

func (d *diagnosis) add(l Level, id string, c *x509.Certificate, detail, next string) {
	d.found = append(d.found, Finding{ID: id, Level: l, Subject: nameOf(c), Detail: detail, Next: next})
}

func (d *diagnosis) ok(id string, c *x509.Certificate, detail string) {
	d.add(LevelOK, id, c, detail, "")
}

func (d *diagnosis) fail(id string, c *x509.Certificate, detail, next string) {
	d.add(LevelFail, id, c, detail, next)
}

func (d *diagnosis) warn(id string, c *x509.Certificate, detail, next string) {
	d.add(LevelWarn, id, c, detail, next)
}

// nameOf is how people tell certificates apart: the SPIFFE ID of a leaf, the
// common name of a CA.
func nameOf(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return fmt.Sprintf("serial %x", c.SerialNumber.Bytes())
}

// shortID begins the SHA-256 of a certificate, enough to compare by eye.
func shortID(c *x509.Certificate) string { return AnchorIDOf(c).String()[:8] }

// leaf holds what the caller wants of the first certificate, and what a verifier
// of X509-SVIDs asks of a leaf beside its chain (X509-SVID §2, §3.1, §5.2).
func (d *diagnosis) leaf(c *x509.Certificate) {
	wantsLeaf := !d.o.Identity.IsZero() || d.o.Usage != x509.ExtKeyUsageAny
	if c.IsCA && !wantsLeaf {
		return
	}
	switch {
	case c.IsCA:
		d.fail("leaf-is-ca", c, "it is a CA certificate, and a leaf is wanted", "put the leaf first in the file")
	case c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		d.fail("leaf-key-usage", c, "it is a leaf, but its key usage lets it sign certificates or CRLs", "issue it again; verifiers of SPIFFE refuse it")
	}
	d.leafIdentity(c)
}

func (d *diagnosis) leafIdentity(c *x509.Certificate) {
	if len(c.URIs) != 1 {
		d.fail("leaf-one-uri", c, fmt.Sprintf("it has %d URI names: %s", len(c.URIs), uriList(c)), "a workload's certificate names exactly one SPIFFE ID; issue it again")
		return
	}
	id, err := ParseIdentity(c.URIs[0].String())
	want := d.o.Identity
	switch {
	case err != nil && !c.IsCA:
		d.fail("leaf-spiffe-id", c, fmt.Sprintf("%q is no SPIFFE ID of a workload: %v", c.URIs[0], err), "issue it again")
	case !want.IsZero() && id.TrustDomain() != want.TrustDomain():
		d.fail("leaf-identity", c, fmt.Sprintf("it is of trust domain %q, not of %s", id.TrustDomain(), want.TrustDomain()), "this is another trust domain's workload, or a wrong setting there")
	case !want.IsZero() && id != want:
		d.fail("leaf-identity", c, "it is not "+want.String(), "the peer runs as another workload, or the expectation is wrong")
	case err == nil:
		d.ok("leaf-identity", c, "one SPIFFE ID")
	}
}

func uriList(c *x509.Certificate) string {
	if len(c.URIs) == 0 {
		return "none"
	}
	names := make([]string, 0, len(c.URIs))
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return strings.Join(names, ", ")
}
