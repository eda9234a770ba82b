package ca_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// holder is a certificate with its key.
type holder struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// change edits a template before it is signed.
type change func(*x509.Certificate)

// mint signs a template, good but for the changes; signer nil signs itself.
func mint(t testing.TB, template x509.Certificate, key crypto.Signer, signer *holder, changes ...change) *holder {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	require.NoError(t, err)
	template.SerialNumber, template.BasicConstraintsValid = serial, true
	template.NotBefore, template.NotAfter = catest.Start.Add(-time.Hour), catest.Start.Add(24*time.Hour)
	if template.IsCA {
		template.KeyUsage, template.NotAfter = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, catest.Start.Add(7*24*time.Hour)
	} else {
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, c := range changes {
		c(&template)
	}
	parent, signing := &template, key
	if signer != nil {
		parent, signing = signer.cert, signer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signing)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &holder{cert, key}
}

func mintCA(t testing.TB, name string, signer *holder, changes ...change) *holder {
	t.Helper()
	key := catest.GenerateKey(t, fips.ECDSAP256)
	return mintCAWithKey(t, name, key, signer, changes...)
}

func mintCAWithKey(t testing.TB, name string, key crypto.Signer, signer *holder, changes ...change) *holder {
	t.Helper()
	id, err := fips.KeyID(key.Public())
	require.NoError(t, err)
	return mint(t, x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, SubjectKeyId: id, MaxPathLen: -1}, key, signer, changes...)
}

func mintLeaf(t testing.TB, signer *holder, changes ...change) *holder {
	t.Helper()
	return mint(t, x509.Certificate{URIs: uris("spiffe://cluster.local/ns/a/sa/b")}, catest.GenerateKey(t, fips.ECDSAP256), signer, changes...)
}

func uris(raw ...string) []*url.URL {
	var list []*url.URL
	for _, r := range raw {
		u, err := url.Parse(r)
		if err != nil {
			panic(err) // a literal of this file
		}
		list = append(list, u)
	}
	return list
}

// Changes by what they do.
func named(raw ...string) change { return func(c *x509.Certificate) { c.URIs = uris(raw...) } }

func lives(from, until time.Duration) change {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = catest.Start.Add(from), catest.Start.Add(until) }
}

func pathLength(n int) change {
	return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, n == 0 }
}

func extUsage(u ...x509.ExtKeyUsage) change { return func(c *x509.Certificate) { c.ExtKeyUsage = u } }

func usageBits(u x509.KeyUsage) change { return func(c *x509.Certificate) { c.KeyUsage = u } }

func noCA(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, 0 }

func sha1(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }

func onlyTrustDomain(domain string) change {
	return func(c *x509.Certificate) {
		c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{domain}, true
	}
}

func strangeExtension(c *x509.Certificate) {
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}}
}

// world is a trust domain with everything that goes wrong in one. Intermediates
// and leaves are good unless their name says otherwise.
type world struct {
	root, other       *holder // anchors of cluster.local, and of nobody here
	inter, otherInter *holder
	twin              *holder // name of inter, another key
	next, bridge      *holder // the root after root, and next signed by root
	nextInter         *holder
	expiredRoot       *holder // old anchor with one bridge to next
	expiredBridge     *holder

	leaf, otherLeaf, nextLeaf, direct *holder
}

func newWorld(t testing.TB) *world {
	t.Helper()
	const years = 5 * 365 * 24 * time.Hour
	domain := named("spiffe://cluster.local")
	w := &world{
		root:        mintCA(t, "root", nil, lives(-time.Hour, years), domain),
		other:       mintCA(t, "other root", nil, lives(-time.Hour, years)),
		next:        mintCA(t, "next root", nil, lives(-time.Hour, years), domain),
		expiredRoot: mintCA(t, "expired root", nil, lives(-years, -time.Minute), domain),
	}
	w.inter = mintCA(t, "inter", w.root, pathLength(0), domain)
	w.otherInter = mintCA(t, "other inter", w.other, pathLength(0))
	w.twin = mintCA(t, "inter", w.root, pathLength(0), domain)
	w.bridge = mintCAWithKey(t, "next root", w.next.key, w.root, pathLength(1), domain)
	w.expiredBridge = mintCAWithKey(t, "next root", w.next.key, w.expiredRoot, pathLength(1), domain)
	w.nextInter = mintCA(t, "next inter", w.next, pathLength(0), domain)
	w.leaf, w.otherLeaf, w.nextLeaf = mintLeaf(t, w.inter), mintLeaf(t, w.otherInter), mintLeaf(t, w.nextInter)
	w.direct = mintLeaf(t, w.root)
	return w
}

// all is every certificate of the world.
func (w *world) all() []*x509.Certificate {
	return certs(w.leaf, w.otherLeaf, w.nextLeaf, w.direct, w.inter, w.otherInter, w.twin, w.nextInter,
		w.bridge, w.expiredBridge, w.root, w.other, w.next, w.expiredRoot)
}

func certs(holders ...*holder) []*x509.Certificate {
	list := make([]*x509.Certificate, 0, len(holders))
	for _, h := range holders {
		list = append(list, h.cert)
	}
	return list
}

// forged is h's certificate with one bit of its signature changed.
func forged(t testing.TB, h *holder) *holder {
	t.Helper()
	der := append([]byte(nil), h.cert.Raw...)
	der[len(der)-1] ^= 1
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &holder{cert, h.key}
}

// versionOne is what is left of a root when it is read as X.509 version 1.
func versionOne(h *holder) *holder {
	cert := *h.cert
	cert.Version, cert.BasicConstraintsValid, cert.IsCA, cert.KeyUsage = 1, false, false, 0
	return &holder{&cert, h.key}
}

func unapprovedKeys(t testing.TB) (edwards ed25519.PrivateKey, p521 *ecdsa.PrivateKey) {
	t.Helper()
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	p521, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)
	return edwards, p521
}
