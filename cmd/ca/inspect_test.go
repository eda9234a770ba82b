package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

func p256(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	return key
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func csrOf(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	require.NoError(t, err)
	return der
}

func spiffeURI(id string) []*url.URL {
	u, err := url.Parse(id)
	if err != nil {
		panic(err) // a literal of a test
	}
	return []*url.URL{u}
}

func TestMaterialIsReadInEveryForm(t *testing.T) {
	now := time.Now()
	one, two := hourOf(t, now).Chain[0], hourOf(t, now).Chain[0]
	csr := csrOf(t, p256(t), &x509.CertificateRequest{})
	certPEM, csrPEM := pemOf("CERTIFICATE", one.Raw), pemOf("CERTIFICATE REQUEST", csr)
	rows := []struct {
		name        string
		raw         []byte
		certs, csrs int
	}{
		{"PEM", certPEM, 1, 0},
		{"a bundle", append(bytes.Clone(certPEM), pemOf("CERTIFICATE", two.Raw)...), 2, 0},
		{"DER", one.Raw, 1, 0},
		{"DER after DER", append(bytes.Clone(one.Raw), two.Raw...), 2, 0},
		{"a CSR", csrPEM, 0, 1},
		{"a CSR of old tools", pemOf("NEW CERTIFICATE REQUEST", csr), 0, 1},
		{"a DER CSR", csr, 0, 1},
		{"with the key beside it", append(pemOf("PRIVATE KEY", []byte{1}), certPEM...), 1, 0},
		{"with text around it", append([]byte("subject=x\n"), certPEM...), 1, 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			m, err := parseMaterial(r.raw)
			require.NoError(t, err)
			require.Len(t, m.certs, r.certs)
			require.Len(t, m.csrs, r.csrs)
		})
	}
}

func TestMaterialIsRefused(t *testing.T) {
	good := pemOf("CERTIFICATE", hourOf(t, time.Now()).Chain[0].Raw)
	broken := bytes.Replace(good, []byte("MII"), []byte("M!I"), 1)
	rows := []struct {
		name string
		raw  []byte
		want string
	}{
		{"nothing", nil, "it is empty"},
		{"text", []byte("hello"), "neither PEM, nor a DER certificate or CSR"},
		{"a key", pemOf("PRIVATE KEY", []byte{1}), `only ["PRIVATE KEY"]`},
		{"a broken block after a good one", append(bytes.Clone(good), broken...), "1 of 2 PEM blocks cannot be read"},
		{"a block that was cut", good[:len(good)/2], "1 of 1 PEM blocks cannot be read"},
		{"no certificate in the block", pemOf("CERTIFICATE", []byte{0x30, 0}), "certificate 1: "},
		{"no CSR in the block", pemOf("CERTIFICATE REQUEST", []byte{0x30, 0}), "CSR 1: "},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := parseMaterial(r.raw)
			require.ErrorContains(t, err, r.want)
		})
	}
	a, _, _ := testApp(time.Now())
	a.stdin = strings.NewReader(strings.Repeat("x", maxInput+1))
	_, err := a.readInput("-")
	require.ErrorContains(t, err, "- is larger than 4 MiB")
}

func TestAddressesAreToldFromFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("host:1", nil, 0o600))
	for source, want := range map[string]bool{
		"127.0.0.1:8443": true, "kedge.example.org:443": true, "[::1]:8443": true,
		"-": false, "tls.crt": false, "host:1": false, ":8443": false, "host:": false, "a/b.pem": false,
	} {
		require.Equal(t, want, isAddress(source), source)
	}
}

func TestInspectionIsWhole(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	rootKey, key := p256(t), p256(t)
	root := selfSigned(t, &x509.Certificate{
		SerialNumber: big.NewInt(255), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{0xab}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(240 * time.Hour),
	}, rootKey)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(10), URIs: spiffeURI("spiffe://example.org/a"), DNSNames: []string{"a.example.org"}, IPAddresses: []net.IP{net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}, root, key.Public(), rootKey)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)

	zero, yes := 0, true
	want := inspection{
		Verified: &yes, Anchor: ca.AnchorIDOf(root).String(),
		Items: []inspected{
			{
				Kind: "leaf", Identity: "spiffe://example.org/a", Issuer: "CN=root", Serial: "0a", URIs: []string{"spiffe://example.org/a"},
				Hosts: []string{"a.example.org", "::1"}, Key: "ecdsa-p256", Signature: "ECDSA-SHA256", Usages: []string{"digitalSignature", "serverAuth", "clientAuth"},
				NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IssuerKeyID: "ab", Fingerprint: fingerprint(leaf.Raw),
			},
			{
				Kind: "root", Subject: "CN=root", Issuer: "CN=root", Serial: "ff", Key: "ecdsa-p256", Signature: "ECDSA-SHA256", Usages: []string{"keyCertSign", "cRLSign"},
				MaxPathLength: &zero, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(240 * time.Hour), KeyID: "ab", Fingerprint: fingerprint(root.Raw),
			},
		},
	}
	got := inspect(material{certs: []*x509.Certificate{leaf, root}}, []*x509.Certificate{root}, now)
	require.Equal(t, want, got)

	a, stdout, _ := testApp(now)
	require.NoError(t, a.printInspection(got))
	for _, line := range []string{
		`(?m)^leaf +spiffe://example.org/a$`, `(?m)^  ends +2026-11-24T13:00:00Z \(in 1h0m\)$`, `(?m)^  path length +0$`,
		`(?m)^  sha256 +` + fingerprint(leaf.Raw)[:8] + `$`, `(?m)^verifies +under anchor ` + fingerprint(root.Raw)[:8] + `$`,
	} {
		require.Regexp(t, line, stdout.String())
	}

	late := inspect(material{certs: []*x509.Certificate{leaf}}, []*x509.Certificate{root}, now.Add(2*time.Hour))
	require.False(t, *late.Verified)
	refused := inspect(material{certs: []*x509.Certificate{leaf}, refusal: x509.HostnameError{Certificate: leaf, Host: "b"}}, []*x509.Certificate{root}, now)
	require.False(t, *refused.Verified, "a server's chain is good for its name only")
	require.Nil(t, inspect(material{certs: []*x509.Certificate{leaf}}, nil, now).Verified, "nobody asked")
}

func TestForeignCertificateCannotCommandTheTerminal(t *testing.T) {
	now := time.Now()
	evil := selfSigned(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "\x1b[2Jroot"}, NotBefore: now, NotAfter: now.Add(time.Hour),
	}, p256(t))
	a, stdout, _ := testApp(now)
	require.NoError(t, a.printInspection(inspect(material{certs: []*x509.Certificate{evil}}, nil, now)))
	require.Error(t, a.printFindings(ca.Diagnose([]*x509.Certificate{evil}, nil, ca.DiagnoseOptions{At: now}), false))
	require.NotContains(t, stdout.String(), "\x1b")
	require.Contains(t, stdout.String(), `\x1b[2Jroot`)
}

func TestInspectionOfACSRSaysWhetherItIsSigned(t *testing.T) {
	key := p256(t)
	parse := func(der []byte) *x509.CertificateRequest {
		csr, err := x509.ParseCertificateRequest(der)
		require.NoError(t, err)
		return csr
	}
	good := csrOf(t, key, &x509.CertificateRequest{URIs: spiffeURI("spiffe://example.org/a")})
	require.Equal(t, "good", csrSignature(parse(good)))
	require.Equal(t, "spiffe://example.org/a", inspectCSR(parse(good)).Identity)
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	require.Contains(t, csrSignature(parse(bad)), "bad: ")
	sha1 := csrOf(t, key, &x509.CertificateRequest{SignatureAlgorithm: x509.ECDSAWithSHA1})
	require.Equal(t, "not checked: sigalg_sha1", csrSignature(parse(sha1)))
}

func TestKeysAreNamedEvenWhenNobodyMayUseThem(t *testing.T) {
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)
	require.Equal(t, "ecdsa-p256", keyName(p256(t).Public()))
	require.Equal(t, "ecdsa-P-521 (not approved)", keyName(p521.Public()))
	require.Equal(t, "unknown (not approved)", keyName(nil))
	require.Equal(t, "string (not approved)", keyName("x"))
}

func TestVerifyFlagsAreParsed(t *testing.T) {
	now := time.Now()
	f := verifyFlags{at: "2027-01-01T00:00:00Z", identity: "spiffe://example.org/a", usage: "server", profile: "fips"}
	o, err := f.options(now)
	require.NoError(t, err)
	require.Equal(t, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), o.At)
	require.Equal(t, x509.ExtKeyUsageServerAuth, o.Usage)
	require.Equal(t, "spiffe://example.org/a", o.Identity.String())
	o, err = (&verifyFlags{profile: "cnsa1", usage: "client"}).options(now)
	require.NoError(t, err)
	require.Equal(t, now, o.At)
	require.Equal(t, "cnsa1", o.FIPS.Name())
	require.Equal(t, x509.ExtKeyUsageClientAuth, o.Usage)
	for want, f := range map[string]verifyFlags{
		"--at ":           {profile: "fips", at: "tomorrow"},
		"--identity: ":    {profile: "fips", identity: "example.org/a"},
		"--usage ":        {profile: "fips", usage: "both"},
		"--fips-profile:": {profile: "none"},
	} {
		_, err := f.options(now)
		require.ErrorContains(t, err, want)
	}
}

// TestVerifyEndsWithItsVerdict has one row for each exit code.
func TestVerifyEndsWithItsVerdict(t *testing.T) {
	finding := func(l ca.Level) ca.Finding { return ca.Finding{ID: "x", Level: l, Subject: "s", Detail: "d"} }
	code := func(strict bool, found ...ca.Finding) (int, string) {
		a, _, _ := testApp(time.Now())
		err := a.printFindings(found, strict)
		if err == nil {
			return exitOK, ""
		}
		var exit *exitError
		require.ErrorAs(t, err, &exit)
		return exit.code, err.Error()
	}
	got, _ := code(true, finding(ca.LevelOK))
	require.Equal(t, exitOK, got)
	got, _ = code(false, finding(ca.LevelWarn))
	require.Equal(t, exitOK, got)
	got, text := code(true, finding(ca.LevelWarn), finding(ca.LevelWarn))
	require.Equal(t, exitWarn, got)
	require.Equal(t, "the chain verifies, with 2 warnings", text)
	got, text = code(true, finding(ca.LevelFail), finding(ca.LevelWarn))
	require.Equal(t, exitFail, got)
	require.Equal(t, "the chain does not verify: 1 fault", text)

	found := withServerName(nil, x509.HostnameError{Certificate: hourOf(t, time.Now()).Chain[0], Host: "b"})
	require.Equal(t, "server-name", found[0].ID)
	require.Empty(t, withServerName(nil, x509.UnknownAuthorityError{}), "the path is explained already")
}

func TestBundleMustHoldCertificates(t *testing.T) {
	a, _, _ := testApp(time.Now())
	path := filepath.Join(t.TempDir(), "b.pem")
	require.NoError(t, os.WriteFile(path, pemOf("CERTIFICATE REQUEST", csrOf(t, p256(t), &x509.CertificateRequest{})), 0o600))
	_, err := a.loadBundle(path)
	require.ErrorContains(t, err, "holds a CSR and no certificate")
	_, err = a.loadBundle(path + "x")
	require.ErrorIs(t, err, os.ErrNotExist)
}
