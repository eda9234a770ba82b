package fips

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func requestTemplate() *x509.CertificateRequest {
	return &x509.CertificateRequest{DNSNames: []string{"a.example"}}
}

func mustKey(t testing.TB) crypto.Signer {
	t.Helper()
	s, err := GenerateKey(ECDSAP256)
	require.NoError(t, err)
	return s
}

// identifiedModule is a module as production has it, without its self-tests.
func identifiedModule(t testing.TB, f *facts) *Module {
	t.Helper()
	m := &Module{facts: f, policy: mustPolicy(t, "fips")}
	require.NoError(t, m.identify(options(t)))
	return m
}

// keys returns every key of a JSON value as a sorted list of dotted paths.
func keys(t testing.TB, b []byte) []string {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(b, &v))
	found := map[string]bool{}
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				found[prefix+k] = true
				walk(prefix+k+".", e)
			}
		case []any:
			for _, e := range v {
				walk(prefix, e)
			}
		}
	}
	walk("", v)
	return slices.Sorted(maps.Keys(found))
}

// The schema is a promise to whoever parses reports: testdata/report-keys.txt
// may grow, a line may not go.
func TestReportKeepsItsSchema(t *testing.T) {
	m := identifiedModule(t, boringFacts())
	m.results = []TestResult{{Name: "kat_sha256", Detail: "x", At: day("2026-11-24")}}
	m.Fail("code", errors.New("x"))
	r := m.Report(ReportInput{Now: day("2026-11-24"), ExternalModules: []ExternalModule{{"root", "vault", "1.19", "operator"}}})
	r.Module.ZipSHA256 = "x"
	b, err := json.Marshal(r)
	require.NoError(t, err)
	golden, err := os.ReadFile("testdata/report-keys.txt")
	require.NoError(t, err)
	require.Equal(t, strings.Fields(string(golden)), keys(t, b))
	var back Report
	require.NoError(t, decodeStrict(b, &back))
	require.Equal(t, r, back)
}

func TestReportOfAProperProcess(t *testing.T) {
	m := identifiedModule(t, boringFacts())
	m.results = []TestResult{{Name: "tls_refuses_x25519", OK: true, At: day("2026-11-24")}}
	r := m.Report(ReportInput{Now: day("2026-11-24").Add(time.Hour), OEAffirmed: true})
	require.Equal(t, ReportSchema, r.Schema)
	require.Equal(t, VerdictApproved, r.Verdict)
	require.Equal(t, &ModuleReport{
		Name: "BoringCrypto", Version: "2022061300", Standard: "FIPS 140-3", Level: 1, CMVP: "4735", CAVP: []string{"A2811"},
		Status: "active", StatusAsOf: "2026-04-15", StatusStale: true,
		StatusSource: "https://csrc.nist.gov/projects/cryptographic-module-validation-program/certificate/4735",
		Sunset:       "2029-07-22", DaysLeft: 971,
		Caveat:     "No assurance of the minimum strength of generated SSPs (e.g., keys). When operated in approved mode.",
		SysoSHA256: "2ace5a99ae43b388845592472026b0225cf1f07c9b28124c23f0f3fef77f0210",
	}, r.Module)
	require.Equal(t, RuntimeReport{BoringEnabled: true, FIPS140Version: "latest", TLSProbe: "pass"}, r.Runtime)
	require.Equal(t, []string{"TLS 1.2/1.3 KDF", "HKDF", "PBKDF2", "ASN.1 and X.509 parsing"}, r.OutsideModule)
	require.Equal(t, "affirmed-by-operator", r.OE.Tested)
	require.Equal(t, PolicyReport{"fips", mustPolicy(t, "fips").SHA256()}, r.Policy)
	require.Equal(t, []string{"P-256", "P-384"}, r.TLS.Groups)
	require.Len(t, r.TLS.Suites, 6)
	require.Len(t, r.Build.ExeSHA256, 64)
	require.NotEmpty(t, r.OE.Kernel)
	require.False(t, r.Claims.ProductValidated)
}

// What may be said, and what may not (NIST's FIPS 140-3 logo rules speak of
// modules only).
func TestClaimsNeverCallTheProductValidated(t *testing.T) {
	for _, f := range []*facts{boringFacts(), nativeFacts(), {compiled: None, active: None, insecure: true}} {
		r := identifiedModule(t, f).Report(ReportInput{Now: day("2026-11-24")})
		require.False(t, r.Claims.ProductValidated)
		require.NotRegexp(t, `(?i)certified|(?i)compliant`, r.Claims.Text)
		if r.Module != nil {
			require.Contains(t, r.Claims.Text, "CMVP #"+r.Module.CMVP)
			require.Contains(t, r.Claims.Text, "status active as of "+r.Module.StatusAsOf)
			require.Contains(t, r.Claims.Text, "This product is not itself validated")
		}
	}
}

func TestVerdicts(t *testing.T) {
	insecure := identifiedModule(t, &facts{compiled: None, active: None, insecure: true})
	r := insecure.Report(ReportInput{Now: day("2026-11-24")})
	require.Equal(t, VerdictDegraded, r.Verdict)
	require.Nil(t, r.Module)
	require.Equal(t, None, r.Backend)
	require.Equal(t, "not-enforced", r.Runtime.TLSProbe)
	require.Contains(t, r.Claims.Text, "Nothing may be claimed")

	m := identifiedModule(t, nativeFacts())
	require.Equal(t, VerdictApproved, m.Report(ReportInput{Now: day("2031-04-26")}).Verdict)
	r = m.Report(ReportInput{Now: day("2031-04-27")})
	require.Equal(t, VerdictDegraded, r.Verdict)
	require.Equal(t, "presumed-historical", r.Module.Status)
	require.Equal(t, -1, r.Module.DaysLeft)

	m.results = []TestResult{{Name: "tls_refuses_tls11", OK: true}, {Name: "tls_refuses_x25519", OK: false}}
	m.Fail("selftest_tls_refuses_x25519", errors.New("x"))
	r = m.Report(ReportInput{Now: day("2026-11-24")})
	require.Equal(t, VerdictError, r.Verdict)
	require.Contains(t, r.Error, "selftest_tls_refuses_x25519")
	require.Equal(t, "fail", r.Runtime.TLSProbe)
}

func TestReportOfTLSChoices(t *testing.T) {
	r := tlsReport(ReportInput{TLSMinVersion: tls.VersionTLS13, TLSHybrid: true})
	require.Equal(t, TLSReport{
		Min: "1.3", Suites: []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"},
		Groups: []string{"SecP256r1MLKEM768", "X25519MLKEM768", "P-256", "P-384"},
	}, r)
}

func TestBuildReport(t *testing.T) {
	f := boringFacts()
	f.build["-tags"], f.build["vcs.revision"], f.build["vcs.modified"] = "netgo,osusergo", "0123", "true"
	f.buildInfo = &debug.BuildInfo{Main: debug.Module{Path: "github.com/kedge-ca/kedge", Version: "v1.2.3"}}
	m := &Module{facts: f}
	r := m.buildReport()
	r.ExeSHA256, r.DepsSHA256 = "", ""
	require.Equal(t, BuildReport{
		Go: "go1.26.8 X:boringcrypto", GOEXPERIMENT: "boringcrypto", CGO: true, Tags: []string{"netgo", "osusergo"},
		GOOS: "linux", GOARCH: "amd64", Module: "github.com/kedge-ca/kedge", Version: "v1.2.3", VCS: "0123", Modified: true,
	}, r)
}

func TestDependencyHashSeesEveryChange(t *testing.T) {
	a := &debug.BuildInfo{Deps: []*debug.Module{{Path: "a", Version: "v1", Sum: "h1:x"}}}
	replaced := &debug.BuildInfo{Deps: []*debug.Module{{Path: "a", Version: "v1", Sum: "h1:x", Replace: &debug.Module{Path: "b"}}}}
	sum := &debug.BuildInfo{Deps: []*debug.Module{{Path: "a", Version: "v1", Sum: "h1:y"}}}
	hashes := map[string]bool{}
	for _, info := range []*debug.BuildInfo{nil, {}, a, replaced, sum} {
		hashes[depsSHA256(info)] = true
	}
	require.Len(t, hashes, 5)
}

func TestCPUName(t *testing.T) {
	require.Equal(t, "AMD EPYC", cpuNameFrom(strings.NewReader("processor\t: 0\nmodel name\t: AMD EPYC\n")))
	require.Equal(t, "arm implementer 0x41 part 0xd0c", cpuNameFrom(strings.NewReader("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n")))
	require.Empty(t, cpuNameFrom(strings.NewReader("nothing\n")))
}

// authority is a small CA for signed reports.
type authority struct {
	key  crypto.Signer
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: mustKey(t), pool: x509.NewCertPool()}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: day("2026-01-01"), NotAfter: day("2036-01-01"), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = issue(t, tmpl, tmpl, [2]any{a.key.Public(), a.key})
	a.pool.AddCert(a.cert)
	return a
}

// issue signs tmpl under parent; keys are the subject's public key and the
// parent's signer.
func issue(t testing.TB, tmpl, parent *x509.Certificate, keys [2]any) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, keys[0], keys[1])
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

// serving issues a certificate for one day from 2026-11-24.
func (a *authority) serving(t testing.TB, pub crypto.PublicKey, usage x509.ExtKeyUsage) []byte {
	t.Helper()
	return issue(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"ca.example"}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: day("2026-11-24"), NotAfter: day("2026-11-25"),
	}, a.cert, [2]any{pub, a.key}).Raw
}
