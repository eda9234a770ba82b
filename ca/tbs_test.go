package ca

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// TestEncoderAgreesWithTheStandardLibrary holds our encoder to crypto/x509 byte
// by byte, for every kind of key and for dates on both sides of 2050.
func TestEncoderAgreesWithTheStandardLibrary(t *testing.T) {
	uri, err := url.Parse("spiffe://cluster.local/ns/default/sa/web")
	require.NoError(t, err)
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	edge := time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)
	for _, kt := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		for _, end := range []time.Time{now.Add(time.Hour), edge, edge.Add(time.Second), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
			for _, dns := range [][]string{nil, {"kedge.example.com", "localhost"}} {
				var addrs []netip.Addr
				var ips []net.IP
				if dns != nil {
					addrs = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")}
					ips = []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP("2001:db8::1")}
				}
				issuerKey, err := fips.GenerateKey(kt)
				require.NoError(t, err)
				leafKey, err := fips.GenerateKey(fips.ECDSAP256)
				require.NoError(t, err)
				scheme, err := fips.SchemeFor(issuerKey.Public())
				require.NoError(t, err)
				spki, keyID, err := publicKeyInfo(leafKey.Public())
				require.NoError(t, err)
				serial, err := fips.NewSerial()
				require.NoError(t, err)
				parent := &x509.Certificate{
					Subject: pkix.Name{CommonName: "Intermediate"}, SubjectKeyId: []byte("01234567890123456789"),
					BasicConstraintsValid: true, IsCA: true,
				}
				parent.RawSubject, err = caName("Intermediate", keyID)
				require.NoError(t, err)
				der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
					SerialNumber: new(big.Int).SetBytes(serial), NotBefore: now, NotAfter: end,
					KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
					ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
					SubjectKeyId: keyID, AuthorityKeyId: parent.SubjectKeyId,
					URIs: []*url.URL{uri}, DNSNames: dns, IPAddresses: ips, SignatureAlgorithm: scheme.Algorithm,
				}, parent, leafKey.Public(), issuerKey)
				require.NoError(t, err)
				want, err := x509.ParseCertificate(der)
				require.NoError(t, err)

				ours := tbsCertificate{
					serial: serial, algorithm: scheme.AlgorithmIdentifier, issuer: parent.RawSubject,
					notBefore: now, notAfter: end, subject: emptyName, spki: spki,
					extensions: []extension{
						keyUsage(0), extKeyUsage(oidServerAuth, oidClientAuth), notCA(),
						subjectKeyID(keyID), authorityKeyID(parent.SubjectKeyId), altNames(hosts{dns, addrs}, uri.String(), true),
					},
				}
				got, err := ours.encode()
				require.NoError(t, err)
				require.Equal(t, want.RawTBSCertificate, got)
				whole, err := assemble(got, scheme.AlgorithmIdentifier, want.Signature)
				require.NoError(t, err)
				require.Equal(t, der, whole)
				require.Equal(t, got, tbsOf(whole))
			}
		}
	}
}

// TestEachCheckFindsItsFault changes one field at a time of a good leaf: a check
// that never fails would be found here.
func TestEachCheckFindsItsFault(t *testing.T) {
	other := []byte("another 20-byte keyid")[:20]
	faults := map[string]func(c *x509.Certificate){
		"leaf-version-3":     func(c *x509.Certificate) { c.Version = 1 },
		"leaf-serial":        func(c *x509.Certificate) { c.SerialNumber = big.NewInt(7) },
		"leaf-issuer":        func(c *x509.Certificate) { c.RawIssuer = emptyName },
		"leaf-subject-empty": func(c *x509.Certificate) { c.RawSubject = []byte{0x30, 0x01, 0x00} },
		"leaf-identity":      func(c *x509.Certificate) { c.DNSNames = []string{"evil"} },
		"leaf-account-name":  func(c *x509.Certificate) { c.DNSNames = []string{"web.other." + testAccounts} },
		"leaf-public-key":    func(c *x509.Certificate) { c.RawSubjectPublicKeyInfo = other },
		"leaf-not-ca":        func(c *x509.Certificate) { c.IsCA = true },
		"leaf-key-usage":     func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign },
		"leaf-ext-key-usage": func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) },
		"leaf-key-ids":       func(c *x509.Certificate) { c.AuthorityKeyId = other },
		"leaf-extension-set": func(c *x509.Certificate) { c.Extensions = c.Extensions[1:] },
		"leaf-lifetime":      func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-time.Hour) },
		"leaf-within-issuer": func(c *x509.Certificate) {},
	}
	require.Len(t, faults, len(leafChecks))
	good, want := goodLeaf(t)
	require.NoError(t, checkLeaf(good, want))
	for i := range leafChecks {
		check := leafChecks[i]
		t.Run(check.id, func(t *testing.T) {
			bad, w := *good, want
			faults[check.id](&bad)
			if check.id == "leaf-within-issuer" {
				issuer := *w.issuer
				issuer.notAfter = bad.NotAfter.Add(-time.Second)
				w.issuer = &issuer
			}
			require.Error(t, check.run(&bad, w))
			require.NoError(t, check.run(good, want))
		})
	}
}

// testAccounts is the domain of the DNS names of service accounts.
const testAccounts = "serviceaccount.identity.linkerd.cluster.local"

// TestTheNameOfAnAccountIsReadBackwards: a DNS name of another account, namespace
// or domain, or beside a second one, is no name of the identity.
func TestTheNameOfAnAccountIsReadBackwards(t *testing.T) {
	good, want := goodLeaf(t)
	require.NoError(t, checkAccountName(good, want))
	for _, names := range [][]string{
		nil, {""}, {"web"}, {"web.default"}, {"web.default." + testAccounts + "."}, {"web.default.other.local"},
		{"web.other." + testAccounts}, {"db.default." + testAccounts}, {"default.web." + testAccounts},
		{"WEB.default." + testAccounts}, {"*.default." + testAccounts}, {"x.web.default." + testAccounts},
		{"web.default." + testAccounts, "web.default." + testAccounts},
	} {
		bad := *good
		bad.DNSNames = names
		require.Error(t, checkAccountName(&bad, want), "%q", names)
	}
}

// goodLeaf is a leaf that passes every check, and what it was checked against.
func goodLeaf(t *testing.T) (*x509.Certificate, leafWant) {
	t.Helper()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	policy, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	domain, err := ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	rootKey, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	root, err := NewRootCertificate(RootRequest{domain, now.Add(-time.Hour), now.Add(RootLifetime), rootKey, policy})
	require.NoError(t, err)
	bundle, err := NewBundle(domain, 1, []Anchor{{root, SlotActive}})
	require.NoError(t, err)
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	require.NoError(t, err)
	cert, err := SignIntermediate(IntermediateSigning{root, rootKey, csr, policy, IntermediateRequest{domain, now.Add(-time.Hour), now.Add(IntermediateLifetime)}})
	require.NoError(t, err)
	issuer, err := NewIntermediate(IntermediateConfig{[]*x509.Certificate{cert}, bundle, key, policy})
	require.NoError(t, err)
	profile, err := NewProfile(ProfileConfig{Name: "linkerd", AccountDomain: testAccounts})
	require.NoError(t, err)
	id, err := domain.ServiceAccount("default", "web")
	require.NoError(t, err)
	leafKey, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	csr, err = fips.CreateRequest(&x509.CertificateRequest{}, leafKey)
	require.NoError(t, err)
	request, err := ParseRequest(csr, RequestOptions{Now: now}, policy)
	require.NoError(t, err)
	names, err := profile.hostsOf(id)
	require.NoError(t, err)
	p, err := prepare(&snapshot{intermediate: issuer, bundle: bundle}, Grant{identity: id, profile: profile, hosts: names}, request, now)
	require.NoError(t, err)
	der, err := p.sign()
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	keyID, err := fips.KeyIDFromSPKI(request.spki)
	require.NoError(t, err)
	return leaf, leafWant{profile: profile, identity: id, hosts: names, spki: request.spki, keyID: keyID, issuer: issuer, now: now, ttl: DefaultLeafTTL}
}
