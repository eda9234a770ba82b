package ca_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// answered is a root outside, and what it was asked: it can sign anything.
type answered struct {
	t       *testing.T
	policy  fips.Policy
	key     crypto.Signer // of the anchor
	anchor  *x509.Certificate
	subject crypto.Signer // the key that it was asked to sign
	csr     *x509.CertificateRequest
	request ca.IntermediateRequest
}

func newAnswered(t *testing.T) *answered {
	t.Helper()
	policy, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	domain, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	a := &answered{t: t, policy: policy, key: catest.GenerateKey(t, fips.ECDSAP256), subject: catest.GenerateKey(t, fips.ECDSAP256)}
	a.request = ca.IntermediateRequest{
		TrustDomain: domain, NotBefore: catest.Start.Add(-ca.CABackdate), NotAfter: catest.Start.Add(ca.IntermediateLifetime),
	}
	a.anchor = a.newAnchor(a.key, catest.Start.Add(ca.RootLifetime))
	der, err := fips.CreateRequest(&x509.CertificateRequest{}, a.subject)
	require.NoError(t, err)
	a.csr, err = ca.CheckIntermediateCSR(der, policy, a.request.NotAfter)
	require.NoError(t, err)
	return a
}

func (a *answered) newAnchor(key crypto.Signer, notAfter time.Time) *x509.Certificate {
	a.t.Helper()
	cert, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: a.request.TrustDomain, NotBefore: catest.Start.Add(-24 * time.Hour), NotAfter: notAfter, Signer: key, Policy: a.policy,
	})
	require.NoError(a.t, err)
	return cert
}

// template is the certificate that was asked for.
func (a *answered) template() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(7), 100), Subject: pkix.Name{CommonName: "Intermediate"},
		NotBefore: a.request.NotBefore, NotAfter: a.request.NotAfter,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: bytes.Repeat([]byte{1}, 20),
		URIs: []*url.URL{uri(a.t, a.request.TrustDomain.URI())},
	}
}

func uri(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}

// sign signs a template with any key under any name.
func (a *answered) sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return cert
}

// changed is the answer after change, for the key that was asked for and under the anchor.
func (a *answered) changed(change func(*x509.Certificate)) []*x509.Certificate {
	a.t.Helper()
	template := a.template()
	change(template)
	return []*x509.Certificate{a.sign(template, a.anchor, a.csr.PublicKey, a.key)}
}

// below is the answer of an issuer that stands under the anchor.
func (a *answered) below(kind fips.KeyType, change func(middle *x509.Certificate)) []*x509.Certificate {
	a.t.Helper()
	key := catest.GenerateKey(a.t, kind)
	template := a.template()
	template.Subject.CommonName, template.MaxPathLen, template.MaxPathLenZero = "Middle", 1, false
	template.SubjectKeyId = bytes.Repeat([]byte{4}, 20)
	if change != nil {
		change(template)
	}
	middle := a.sign(template, a.anchor, key.Public(), a.key)
	return []*x509.Certificate{a.sign(a.template(), middle, a.csr.PublicKey, key), middle}
}

func (a *answered) check(chain []*x509.Certificate) error {
	return ca.SignedIntermediate{Chain: chain, Anchor: a.anchor, CSR: a.csr, Request: a.request, Policy: a.policy}.Check()
}

func TestSignedIntermediateAsAskedForPasses(t *testing.T) {
	a := newAnswered(t)
	for name, chain := range map[string][]*x509.Certificate{
		"under the anchor":          a.changed(func(*x509.Certificate) {}),
		"under another issuer":      a.below(fips.ECDSAP384, nil),
		"a minute short":            a.changed(func(c *x509.Certificate) { c.NotAfter = a.request.NotAfter.Add(-time.Minute) }),
		"a minute long":             a.changed(func(c *x509.Certificate) { c.NotAfter = a.request.NotAfter.Add(time.Minute) }),
		"with a clock a bit ahead":  a.changed(func(c *x509.Certificate) { c.NotBefore = catest.Start.Add(time.Minute) }),
		"not longer than its chain": a.below(fips.ECDSAP256, func(m *x509.Certificate) { m.NotAfter = a.request.NotAfter }),
	} {
		require.NoError(t, a.check(chain), name)
	}
	t.Run("cut to the end of its issuer", func(t *testing.T) {
		end := catest.Start.Add(48 * time.Hour)
		a.anchor = a.newAnchor(a.key, end)
		require.NoError(t, a.check(a.changed(func(c *x509.Certificate) { c.NotAfter = end })))
		requireMismatch(t, a.check(a.changed(func(c *x509.Certificate) { c.NotAfter = end.Add(-2 * time.Minute) })), "earlier")
	})
}

func requireMismatch(t *testing.T, err error, says string) {
	t.Helper()
	require.Equal(t, ca.ReasonRootMismatch, ca.ReasonOf(err), "%v", err)
	require.ErrorContains(t, err, says)
}

func TestSignedIntermediateThatDiffersIsRefused(t *testing.T) {
	a := newAnswered(t)
	domain := a.request.TrustDomain.URI()
	for _, row := range []struct {
		name   string
		says   string
		change func(c *x509.Certificate)
	}{
		{"CA:FALSE", "not a CA", func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }},
		{"no basic constraints", "not a CA", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid, c.MaxPathLenZero = false, false, false }},
		{"path length 1", "path length", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false }},
		{"no path length", "path length", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = -1, false }},
		{"no key usage", "key usage", func(c *x509.Certificate) { c.KeyUsage = 0 }},
		{"key usage without cRLSign", "key usage", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }},
		{"key usage without keyCertSign", "key usage", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }},
		{"key usage of more", "key usage", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDigitalSignature }},
		{"extended key usage", "extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
		{"any extended key usage", "extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }},
		{"unknown extended key usage", "extended key usage", func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }},
		{"URI of another trust domain", "one URI", func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, "spiffe://elsewhere.example")} }},
		{"URI of a workload", "one URI", func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, domain+"/ns/a/sa/b")} }},
		{"second URI", "one URI", func(c *x509.Certificate) { c.URIs = append(c.URIs, uri(t, "spiffe://elsewhere.example")) }},
		{"the URI twice", "one URI", func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }},
		{"no URI", "one URI", func(c *x509.Certificate) { c.URIs = nil }},
		{"DNS name", "names that nobody asked for", func(c *x509.Certificate) { c.DNSNames = []string{"kedge.example"} }},
		{"IP address", "names that nobody asked for", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }},
		{"email address", "names that nobody asked for", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@kedge.example"} }},
		{"permitted DNS names", "name constraints", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example"} }},
		{"excluded DNS names", "name constraints", func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"example"} }},
		{"permitted URIs", "name constraints", func(c *x509.Certificate) { c.PermittedURIDomains = []string{"cluster.local"} }},
		{"excluded URIs", "name constraints", func(c *x509.Certificate) { c.ExcludedURIDomains = []string{"example"} }},
		{"permitted addresses", "name constraints", func(c *x509.Certificate) {
			c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(10, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}
		}},
		{"excluded addresses", "name constraints", func(c *x509.Certificate) {
			c.ExcludedIPRanges = []*net.IPNet{{IP: net.IPv4(10, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}
		}},
		{"permitted emails", "name constraints", func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"example"} }},
		{"excluded emails", "name constraints", func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"example"} }},
		{"ends too late", "later than", func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(2 * time.Minute) }},
		{"ends too early", "earlier than", func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(-2 * time.Minute) }},
		{"has ended", "earlier than", func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Minute) }},
		{"begins in the future", "in the future", func(c *x509.Certificate) { c.NotBefore = catest.Start.Add(2 * time.Minute) }},
	} {
		t.Run(row.name, func(t *testing.T) { requireMismatch(t, a.check(a.changed(row.change)), row.says) })
	}
}

func TestSignedIntermediateWithAnotherChainIsRefused(t *testing.T) {
	a := newAnswered(t)
	other := catest.GenerateKey(t, fips.ECDSAP256)
	fine, below := a.changed(func(*x509.Certificate) {}), a.below(fips.ECDSAP256, nil)
	forged := a.sign(a.template(), a.anchor, a.csr.PublicKey, a.key)
	forged.Signature = append([]byte{}, forged.Signature...)
	forged.Signature[len(forged.Signature)-1] ^= 1
	for _, row := range []struct {
		name  string
		says  string
		chain []*x509.Certificate
	}{
		{"empty", "no certificate", nil},
		{"for another key", "another key", []*x509.Certificate{a.sign(a.template(), a.anchor, other.Public(), a.key)}},
		{"that is the anchor", "another key", []*x509.Certificate{a.anchor}},
		{"of a foreign root", "issuer name differs", []*x509.Certificate{a.sign(a.template(), a.newAnchor(other, a.anchor.NotAfter), a.csr.PublicKey, other)}},
		{"of a foreign root of the same name", "not issued by", []*x509.Certificate{a.sign(a.template(), nameOf(a.anchor, other), a.csr.PublicKey, other)}},
		{"with a broken signature", "not issued by", []*x509.Certificate{forged}},
		{"self-signed", "not issued by", []*x509.Certificate{a.sign(a.template(), a.template(), a.csr.PublicKey, a.subject)}},
		{"without the certificate between", "not issued by", below[:1]},
		{"in another order", "another key", []*x509.Certificate{below[1], below[0]}},
		{"with a stranger in it", "not issued by", append(fine[:1:1], a.below(fips.ECDSAP256, nil)[1])},
		{"with the anchor in it", "anchor", append(fine[:1:1], a.anchor)},
		{"of an issuer that has ended", "expired", a.below(fips.ECDSAP256, func(m *x509.Certificate) {
			m.NotBefore, m.NotAfter = catest.Start.Add(-48*time.Hour), catest.Start.Add(-time.Hour)
		})},
		{"of an issuer that has not begun", "not yet valid", a.below(fips.ECDSAP256, func(m *x509.Certificate) { m.NotBefore = catest.Start.Add(time.Hour) })},
		{"of an issuer of path length 0", "path length 0", a.below(fips.ECDSAP256, func(m *x509.Certificate) { m.MaxPathLen, m.MaxPathLenZero = 0, true })},
		{"of an issuer for another usage", "key usage", a.below(fips.ECDSAP256, func(m *x509.Certificate) { m.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })},
		{"of an issuer for servers only", "key usage", a.below(fips.ECDSAP256, func(m *x509.Certificate) { m.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })},
		{"of an issuer for other names", "constraint", a.below(fips.ECDSAP256, func(m *x509.Certificate) { m.PermittedURIDomains = []string{"elsewhere.example"} })},
		{"of a weak key", "chain certificate", a.below(fips.RSA2048, nil)},
		{"of an issuer that is no CA", "not issued by", a.below(fips.ECDSAP256, func(m *x509.Certificate) { m.IsCA, m.MaxPathLen = false, 0 })},
		{"of an issuer that may not sign certificates", "not issued by", a.below(fips.ECDSAP256, func(m *x509.Certificate) { m.KeyUsage = x509.KeyUsageCRLSign })},
	} {
		t.Run(row.name, func(t *testing.T) { requireMismatch(t, a.check(row.chain), row.says) })
	}
}

// nameOf is an issuer that has the name of another and a key of its own.
func nameOf(c *x509.Certificate, key crypto.Signer) *x509.Certificate {
	twin := *c
	twin.PublicKey = key.Public()
	return &twin
}
