package ca_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// hostileRoot signs what a test wants, as a root that was taken over may.
type hostileRoot struct {
	t   *testing.T
	key crypto.Signer // of every CA above
	w   *catest.CA
}

func (h hostileRoot) make(template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	h.t.Helper()
	serial, err := fips.NewSerial()
	require.NoError(h.t, err)
	template.SerialNumber = new(big.Int).SetBytes(serial)
	template.NotBefore = catest.Start.Add(-ca.CABackdate)
	if template.NotAfter.IsZero() {
		template.NotAfter = catest.Start.Add(ca.RootLifetime)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, h.key)
	require.NoError(h.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(h.t, err)
	return cert
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// directoryConstraint is a name constraint that crypto/x509 does not read unless it
// is critical, and that OpenSSL and BoringSSL hold every leaf to.
func directoryConstraint(t *testing.T, critical bool) pkix.Extension {
	t.Helper()
	name, err := asn1.Marshal(pkix.Name{Organization: []string{"nobody"}}.ToRDNSequence())
	require.NoError(t, err)
	general := append([]byte{0xa4, byte(len(name))}, name...)
	subtree := append([]byte{0x30, byte(len(general))}, general...)
	permitted := append([]byte{0xa0, byte(len(subtree))}, subtree...)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Critical: critical, Value: append([]byte{0x30, byte(len(permitted))}, permitted...)}
}

// TestAnswerThatNoPeerAcceptsIsRefused has a row for each certificate that is the
// key's, chains to the anchor and makes every leaf under it worthless, or says more
// than was asked for. In force, such an intermediate stops a mesh while Kedge says
// that it issues.
func TestAnswerThatNoPeerAcceptsIsRefused(t *testing.T) {
	uri := []*url.URL{{Scheme: "spiffe", Host: "cluster.local"}}
	asked := catest.Start.Add(ca.IntermediateLifetime)
	type world struct {
		anchor, middle, cert *x509.Certificate // templates
	}
	for name, spoil := range map[string]func(*world){
		"fine":                                     func(*world) {},
		"the anchor allows one CA below it":        func(w *world) { w.anchor.MaxPathLen = 1 },
		"the middle allows none":                   func(w *world) { w.middle.MaxPathLen, w.middle.MaxPathLenZero = 0, true },
		"the middle excludes the trust domain":     func(w *world) { w.middle.ExcludedURIDomains = []string{"cluster.local"} },
		"the middle is for e-mail":                 func(w *world) { w.middle.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} },
		"a directory name is all that it may sign": func(w *world) { w.cert.ExtraExtensions = append(w.cert.ExtraExtensions, directoryConstraint(t, false)) },
		"the same, critical":                       func(w *world) { w.cert.ExtraExtensions = append(w.cert.ExtraExtensions, directoryConstraint(t, true)) },
		"a critical extension that nobody knows": func(w *world) {
			w.cert.ExtraExtensions = append(w.cert.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
		},
		"an extension of 200 KB": func(w *world) {
			w.cert.ExtraExtensions = append(w.cert.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: make([]byte, 200<<10)})
		},
		"a subject key id of 60 KB, which each leaf repeats": func(w *world) { w.cert.SubjectKeyId = make([]byte, 60<<10) },
		"the subject key id of another":                      func(w *world) { w.cert.SubjectKeyId = []byte{1, 2, 3, 4} },
	} {
		t.Run(name, func(t *testing.T) {
			c := catest.New(t)
			h := hostileRoot{t, catest.GenerateKey(t, fips.ECDSAP256), c}
			key := catest.GenerateKey(t, fips.ECDSAP256)
			csrDER := catest.CSR(t, key, "")
			csr, err := x509.ParseCertificateRequest(csrDER)
			require.NoError(t, err)
			spki, err := x509.MarshalPKIXPublicKey(key.Public())
			require.NoError(t, err)
			id, err := fips.KeyIDFromSPKI(spki)
			require.NoError(t, err)
			leaf := authority("Intermediate")
			leaf.MaxPathLen, leaf.MaxPathLenZero, leaf.URIs, leaf.NotAfter, leaf.SubjectKeyId = 0, true, uri, asked, id
			w := &world{authority("Anchor"), authority("Middle"), leaf}
			spoil(w)
			anchor := h.make(w.anchor, w.anchor, h.key.Public())
			middle := h.make(w.middle, anchor, h.key.Public())
			cert := h.make(w.cert, middle, key.Public())
			signed := ca.SignedIntermediate{
				Chain: []*x509.Certificate{cert, middle}, Anchor: anchor, CSR: csr, Policy: c.FIPS,
				Request: ca.IntermediateRequest{TrustDomain: c.Domain, NotBefore: catest.Start.Add(-ca.CABackdate), NotAfter: asked},
			}
			if name == "fine" {
				require.NoError(t, signed.Check())
				return
			}
			require.Equal(t, ca.ReasonRootMismatch, ca.ReasonOf(signed.Check()))
		})
	}
}
