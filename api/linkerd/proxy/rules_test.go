package proxy_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	identityapi "github.com/linkerd/linkerd2-proxy-api/go/identity"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedge-ca/kedge/api/linkerd/proxy"
	"github.com/kedge-ca/kedge/fips"
)

const name = "web.default.serviceaccount.identity.linkerd.cluster.local"

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// chain is an answer under construction: templates that a row may change before
// they are signed, and the answer after.
type chain struct {
	own      proxy.Identity
	leafKey  crypto.Signer
	cas      []*x509.Certificate // templates from the root down to what signs the leaf
	leaf     *x509.Certificate   // template
	issuerIs fips.KeyType        // of every CA
	pss      bool                // the last CA signs with PSS
	answer   func(*identityapi.CertifyResponse)
}

func newChain(t *testing.T, intermediates int) *chain {
	t.Helper()
	own, err := proxy.NewIdentity(name)
	require.NoError(t, err)
	uri, err := url.Parse("spiffe://cluster.local/ns/default/sa/web")
	require.NoError(t, err)
	c := &chain{own: own, leafKey: own.Key, issuerIs: fips.ECDSAP256, answer: func(*identityapi.CertifyResponse) {}}
	for i := range intermediates + 1 {
		c.cas = append(c.cas, &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: strings.Repeat("I", i) + " CA"},
			NotBefore: start.Add(-time.Hour), NotAfter: start.Add(1000 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		})
	}
	c.leaf = &x509.Certificate{
		SerialNumber: big.NewInt(99), NotBefore: start.Add(-time.Minute), NotAfter: start.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{name}, URIs: []*url.URL{uri},
	}
	return c
}

// judge signs everything and has the proxy judge it.
func (c *chain) judge(t *testing.T) error {
	t.Helper()
	anchors := x509.NewCertPool()
	var signed [][]byte // from the leaf's issuer up, without the root
	parent, parentKey := c.cas[0], newKey(t, c.issuerIs)
	root := sign(t, parent, parent, parentKey.Public(), parentKey)
	anchors.AddCert(root)
	for _, template := range c.cas[1:] {
		key := newKey(t, c.issuerIs)
		signed = append([][]byte{sign(t, template, parent, key.Public(), parentKey).Raw}, signed...)
		parent, parentKey = template, key
	}
	if c.pss {
		c.leaf.SignatureAlgorithm = x509.SHA256WithRSAPSS
	}
	leaf := sign(t, c.leaf, parent, c.leafKey.Public(), parentKey)
	r := &identityapi.CertifyResponse{LeafCertificate: leaf.Raw, IntermediateCertificates: signed, ValidUntil: timestamppb.New(c.leaf.NotAfter)}
	c.answer(r)
	_, err := proxy.Issuer{Anchors: anchors}.Accept(c.own, r, start)
	return err
}

func newKey(t *testing.T, kind fips.KeyType) crypto.Signer {
	t.Helper()
	key, err := fips.GenerateKey(kind)
	require.NoError(t, err)
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

// TestEachRuleFindsItsFault changes one thing of a good answer: a rule that never
// fails would be found here.
func TestEachRuleFindsItsFault(t *testing.T) {
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}
	// Version 1 has no extensions: the proxy would refuse it by this rule first.
	faults := map[string][]func(t *testing.T, c *chain){
		"valid-until": {
			func(_ *testing.T, c *chain) { c.answer = func(r *identityapi.CertifyResponse) { r.ValidUntil = nil } },
			func(_ *testing.T, c *chain) {
				c.answer = func(r *identityapi.CertifyResponse) { r.ValidUntil = timestamppb.New(start) }
			},
		},
		"version-3": {func(t *testing.T, c *chain) {
			c.answer = func(r *identityapi.CertifyResponse) { r.LeafCertificate = versionOne(t) }
		}},
		"known-critical-extensions": {
			func(_ *testing.T, c *chain) { c.leaf.ExtraExtensions = []pkix.Extension{critical} },
			func(_ *testing.T, c *chain) { c.cas[1].ExtraExtensions = []pkix.Extension{critical} },
		},
		"within-validity": {
			func(_ *testing.T, c *chain) { c.leaf.NotBefore = start.Add(time.Second) },
			func(_ *testing.T, c *chain) { c.cas[1].NotAfter = start.Add(-time.Second) },
		},
		"leaf-is-no-ca": {func(_ *testing.T, c *chain) { c.leaf.IsCA = true; c.leaf.KeyUsage = x509.KeyUsageCertSign }},
		"ca-above-leaf": {
			func(_ *testing.T, c *chain) { c.cas[2].IsCA = false; c.cas[2].KeyUsage = 0 },
			func(_ *testing.T, c *chain) { c.cas[1].MaxPathLenZero = true },
		},
		"at-most-six-cas": {func(t *testing.T, c *chain) { c.cas = newChain(t, 7).cas }},
		"server-and-client-auth": {
			func(_ *testing.T, c *chain) { c.leaf.ExtKeyUsage = c.leaf.ExtKeyUsage[:1] },
			func(_ *testing.T, c *chain) { c.leaf.ExtKeyUsage = c.leaf.ExtKeyUsage[1:] },
			func(_ *testing.T, c *chain) {
				c.cas[1].ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			},
		},
		"signature-algorithms": {func(_ *testing.T, c *chain) { c.issuerIs, c.pss = fips.RSA2048, true }},
		"chain-to-anchors": {
			func(_ *testing.T, c *chain) {
				c.answer = func(r *identityapi.CertifyResponse) { r.IntermediateCertificates = nil }
			},
			func(_ *testing.T, c *chain) {
				c.answer = func(r *identityapi.CertifyResponse) { r.LeafCertificate[len(r.LeafCertificate)-1] ^= 1 }
			},
		},
		"names-itself": {
			func(_ *testing.T, c *chain) {
				c.leaf.DNSNames = []string{"db.default.serviceaccount.identity.linkerd.cluster.local"}
			},
			func(_ *testing.T, c *chain) { c.leaf.DNSNames = nil },
		},
		"named-first":    {func(_ *testing.T, c *chain) { c.leaf.DNSNames = []string{"localhost", name} }},
		"key-is-its-own": {func(t *testing.T, c *chain) { c.leafKey = newKey(t, fips.ECDSAP256) }},
		"key-is-p256": {func(t *testing.T, c *chain) {
			c.leafKey = newKey(t, fips.ECDSAP384)
			c.own.Key = c.leafKey
		}},
	}
	require.NoError(t, newChain(t, 2).judge(t))
	require.NoError(t, newChain(t, 0).judge(t), "under an anchor itself")
	require.NoError(t, newChain(t, 6).judge(t), "as many CAs as there may be")
	require.Len(t, faults, len(proxy.Rules()))
	for _, rule := range proxy.Rules() {
		t.Run(rule.ID, func(t *testing.T) {
			require.NotEmpty(t, faults[rule.ID])
			for _, fault := range faults[rule.ID] {
				c := newChain(t, 2)
				fault(t, c)
				require.ErrorContains(t, c.judge(t), "rule "+rule.ID+" ")
			}
		})
	}
}

// versionOne is the DER of a certificate of version 1, made of one of version 3:
// crypto/x509 writes no other.
func versionOne(t *testing.T) []byte {
	t.Helper()
	key := newKey(t, fips.ECDSAP256)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: start, NotAfter: start.Add(time.Hour)}
	cert := sign(t, template, template, key.Public(), key)
	var tbs struct {
		Version            int `asn1:"optional,explicit,default:0,tag:0"`
		SerialNumber       *big.Int
		SignatureAlgorithm pkix.AlgorithmIdentifier
		Issuer, Validity   asn1.RawValue
		Subject, PublicKey asn1.RawValue
		Extensions         []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
	}
	_, err := asn1.Unmarshal(cert.RawTBSCertificate, &tbs)
	require.NoError(t, err)
	tbs.Version, tbs.Extensions = 0, nil
	raw, err := asn1.Marshal(tbs)
	require.NoError(t, err)
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: raw}, tbs.SignatureAlgorithm, asn1.BitString{Bytes: cert.Signature, BitLength: 8 * len(cert.Signature)}})
	require.NoError(t, err)
	return der
}

// TestWhatIsNoCertificateIsRefused: PEM, and bytes after the DER, which Go's and
// webpki's parsers refuse alike.
func TestWhatIsNoCertificateIsRefused(t *testing.T) {
	for _, change := range []func(*identityapi.CertifyResponse){
		func(r *identityapi.CertifyResponse) { r.LeafCertificate = nil },
		func(r *identityapi.CertifyResponse) { r.LeafCertificate = append(r.LeafCertificate, 0) },
		func(r *identityapi.CertifyResponse) { r.LeafCertificate = []byte("-----BEGIN CERTIFICATE-----") },
		func(r *identityapi.CertifyResponse) { r.IntermediateCertificates[0] = []byte{0x30} },
	} {
		c := newChain(t, 1)
		c.answer = change
		require.ErrorContains(t, c.judge(t), "is not one DER certificate")
	}
}

// TestEveryRuleIsDocumented holds docs/meshes/linkerd.md to the rules, with their
// sources.
func TestEveryRuleIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/meshes/linkerd.md")
	require.NoError(t, err)
	for _, rule := range proxy.Rules() {
		require.Contains(t, string(doc), "| `"+rule.ID+"` |", rule.ID)
		for source := range strings.SplitSeq(rule.Source, "; ") {
			_, path, _ := strings.Cut(source, " ")
			require.Contains(t, string(doc), "`"+path+"`", rule.ID)
		}
	}
}
