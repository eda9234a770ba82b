package ca_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/stretchr/testify/require"
	zcrypto "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

var update = flag.Bool("update", false, "rewrite the golden certificates")

// goldenCertificates are one certificate of each kind that Kedge makes, over
// fixed keys at a fixed time.
func goldenCertificates(t *testing.T) map[string]*x509.Certificate {
	t.Helper()
	certs := make(map[string]*x509.Certificate)
	for _, kind := range []string{"p256", "p384", "rsa3072"} {
		c := catest.NewFrom(t, catest.Keys{
			Root: fixedKey(t, "root-"+kind), Standby: fixedKey(t, "standby-"+kind), Intermediate: fixedKey(t, "intermediate-"+kind),
		})
		certs["root-"+kind], certs["standby-"+kind] = c.Root, c.Standby
		certs["intermediate-"+kind] = c.Intermediate.Certificate()
		issued, err := c.Authority.Issue(t.Context(), c.Caller(t, "web"), c.Request(t, fixedKey(t, "leaf-"+kind), ""))
		require.NoError(t, err)
		certs["workload-"+kind], err = x509.ParseCertificate(issued.Leaf)
		require.NoError(t, err)
		certs["stopgap-"+kind], err = ca.NewStopgapCertificate(fixedKey(t, "leaf-"+kind), c.FIPS, catest.Start)
		require.NoError(t, err)
		certs["replica-"+kind], err = ca.NewReplicaCertificate(fixedKey(t, "leaf-"+kind), c.FIPS, catest.Start)
		require.NoError(t, err)
		c.Authority.SetPolicy(serverPolicy(t, c))
		issued, err = c.Authority.Issue(t.Context(), c.Caller(t, "web"), c.Request(t, fixedKey(t, "leaf-"+kind), ""))
		require.NoError(t, err)
		certs["server-"+kind], err = x509.ParseCertificate(issued.Leaf)
		require.NoError(t, err)
		c.Authority.SetPolicy(linkerdPolicy(t, c))
		issued, err = c.Authority.Issue(t.Context(), c.Caller(t, "web"), c.Request(t, fixedKey(t, "leaf-p256"), ""))
		require.NoError(t, err)
		certs["linkerd-"+kind], err = x509.ParseCertificate(issued.Leaf)
		require.NoError(t, err)
	}
	return certs
}

func serverPolicy(t *testing.T, c *catest.CA) *ca.Policy {
	t.Helper()
	profile, err := ca.NewProfile(ca.ProfileConfig{
		Name: "server", ServerOnly: true, DNSNames: []string{"kedge.example.com", "localhost"},
		Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")},
	})
	require.NoError(t, err)
	policy, err := ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: c.Domain, Profiles: []*ca.Profile{profile}, Rules: []ca.RuleConfig{{Name: "all", Profile: "server"}},
	})
	require.NoError(t, err)
	return policy
}

func fixedKey(t *testing.T, name string) crypto.Signer {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "keys", name+".pem"))
	require.NoError(t, err)
	block, _ := pem.Decode(raw)
	require.NotNil(t, block)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key.(crypto.Signer)
}

// TestGoldenCertificates holds every field and every extension byte of each kind
// of certificate to a reviewed file. Serial and signature differ each time and
// are not compared.
func TestGoldenCertificates(t *testing.T) {
	for name, cert := range goldenCertificates(t) {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "golden", name+".txt")
			got := dump(cert)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func dump(c *x509.Certificate) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version %d\nserial (random)\nsignature %s\n", c.Version, c.SignatureAlgorithm)
	fmt.Fprintf(&b, "issuer %q\nsubject %q\n", c.Issuer, c.Subject)
	fmt.Fprintf(&b, "not before %s\nnot after %s\n", c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339))
	fmt.Fprintf(&b, "public key %s, SHA-256 of SPKI %x\n", c.PublicKeyAlgorithm, sha256.Sum256(c.RawSubjectPublicKeyInfo))
	for _, e := range c.Extensions {
		fmt.Fprintf(&b, "extension %s critical=%t %x\n", e.Id, e.Critical, e.Value)
	}
	fmt.Fprintf(&b, "URIs %v\nDNS %v\nIPs %v\n", c.URIs, c.DNSNames, c.IPAddresses)
	fmt.Fprintf(&b, "CA %t, path length %d (zero: %t)\nkey usage %09b\nextended key usage %v\n",
		c.IsCA, c.MaxPathLen, c.MaxPathLenZero, c.KeyUsage, c.ExtKeyUsage)
	return b.String()
}

// TestCertificatesPassZlint runs every RFC lint of zlint as a second opinion. The
// lints of the web PKI (CA/Browser Forum) do not apply to a private mesh.
func TestCertificatesPassZlint(t *testing.T) {
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: lint.SourceList{
		lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6962, lint.RFC8813,
	}})
	require.NoError(t, err)
	for name, cert := range goldenCertificates(t) {
		t.Run(name, func(t *testing.T) {
			parsed, err := zcrypto.ParseCertificate(cert.Raw)
			require.NoError(t, err)
			results := zlint.LintCertificateEx(parsed, registry)
			require.Greater(t, len(results.Results), 100, "lints were really run")
			for id, result := range results.Results {
				require.LessOrEqual(t, result.Status, lint.Notice, "%s: %s %s", id, result.Status, result.Details)
			}
		})
	}
}
