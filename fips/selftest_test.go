package fips

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips/internal/testbinary"
)

func startedModule(t testing.TB) *Module {
	t.Helper()
	o := options(t)
	o.TestBinary = testbinary.Grant()
	o.Getenv = func(string) string { return "" }
	m, err := Start(o)
	require.NoError(t, err)
	return m
}

// signerFunc is a signer that is not a key of this process.
type signerFunc struct {
	crypto.Signer
	sign func([]byte) ([]byte, error)
}

func (s signerFunc) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return s.sign(digest)
}

func result(t *testing.T, results []TestResult, name string) TestResult {
	t.Helper()
	for _, r := range results {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no self-test %s", name)
	return TestResult{}
}

func TestStartRunsEverySelfTest(t *testing.T) {
	m := startedModule(t)
	require.NoError(t, m.Err())
	var names []string
	for _, r := range m.lastResults() {
		require.True(t, r.OK, "%s: %s", r.Name, r.Detail)
		require.Equal(t, day("2026-11-24"), r.At)
		names = append(names, r.Name)
	}
	want := []string{
		"kat_sha256", "kat_sha384", "kat_hmac_sha256", "kat_aes256_gcm", "kat_ecdsa_p256_verify",
		"kat_ecdsa_p384_verify", "kat_rsa_pkcs1v15", "drbg_no_repeat", "pct_generated_ecdsa-p256",
		"policy_sha1_request", "policy_rsa_e3_request", "policy_p224_request", "tls_builders_accept_p256",
	}
	if ActiveBackend() != None {
		want = append(want, "tls_control_tls12_gcm", "tls_control_tls13_p256", "tls_refuses_chacha20",
			"tls_refuses_chacha20_tls13", "tls_refuses_x25519", "tls_refuses_x25519_tls13", "tls_refuses_tls11",
			"tls_control_p256_certificate", "tls_refuses_rsa1024")
	}
	if ActiveBackend() == BoringCrypto {
		want = append(want, "tls_refuses_ed25519")
	}
	require.Equal(t, want, names)
}

func TestSelfTestProvesTheKeysInUse(t *testing.T) {
	m := startedModule(t)
	for _, k := range []KeyType{ECDSAP256, ECDSAP384, RSA2048} {
		s, err := GenerateKey(k)
		require.NoError(t, err)
		r := result(t, m.SelfTest(day("2026-11-25"), NamedSigner{string(k), s}), "pct_"+string(k))
		require.True(t, r.OK, r.Detail)
		require.Equal(t, r, result(t, m.lastResults(), "pct_"+string(k)))
	}
	require.NoError(t, m.Err())
}

func TestAFaultyKeyLatchesTheModule(t *testing.T) {
	m := startedModule(t)
	good, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	// The memory of a key went bad: private and public half no longer match.
	faulty := &ecdsa.PrivateKey{PublicKey: good.PublicKey, D: other.D}
	r := result(t, m.SelfTest(day("2026-11-25"), NamedSigner{"issuer", faulty}), "pct_issuer")
	require.False(t, r.OK)
	first := m.Err()
	require.ErrorIs(t, first, ErrErrorState)
	require.ErrorContains(t, first, "selftest_pct_issuer")
	// A later success or another failure changes nothing.
	m.SelfTest(day("2026-11-26"))
	m.Fail("other", errors.New("x"))
	require.Equal(t, first, m.Err())
}

// An outage of a remote signer must not stop issuance under other keys; a wrong
// signature from it must.
func TestOnlyAWrongSignatureOfARemoteSignerLatches(t *testing.T) {
	key, err := GenerateKey(ECDSAP256)
	require.NoError(t, err)
	down := errors.New("vault is sealed")
	rows := []struct {
		name    string
		sign    func([]byte) ([]byte, error)
		latches bool
	}{
		{"outage", func([]byte) ([]byte, error) { return nil, down }, false},
		{"wrong signature", func([]byte) ([]byte, error) { return key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256) }, true},
		{"panic", func([]byte) ([]byte, error) { panic("boringcrypto: invalid code execution") }, false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			m := startedModule(t)
			got := result(t, m.SelfTest(day("2026-11-25"), NamedSigner{"root", signerFunc{key, r.sign}}), "pct_root")
			require.False(t, got.OK)
			require.NotEmpty(t, got.Detail)
			require.Equal(t, r.latches, m.Err() != nil)
		})
	}
	m := startedModule(t)
	require.False(t, result(t, m.SelfTest(day("2026-11-25"), NamedSigner{Name: "absent"}), "pct_absent").OK)
}

func TestAPanicInASelfTestIsAFailure(t *testing.T) {
	test := selfTest{name: "x", run: func() error { panic("boringcrypto: invalid code execution") }}
	require.ErrorContains(t, test.protected(), "invalid code execution")
}

func TestKnownAnswersCanFail(t *testing.T) {
	require.ErrorIs(t, answer([]byte{1}, "02"), errKnownAnswer)
	require.Error(t, answer([]byte{1}, "zz"))
	require.ErrorIs(t, katECDSA(elliptic.P256(), [3]string{vectorP256Point, vectorP256S, vectorP256R}), errKnownAnswer)
	require.ErrorIs(t, katECDSA(elliptic.P384(), [3]string{vectorP384Point, vectorP384R, vectorP384R}), errKnownAnswer)
	require.Error(t, katECDSA(elliptic.P256(), [3]string{vectorP384Point, vectorP256R, vectorP256S}))
	require.ErrorIs(t, katRSA(base64.StdEncoding.EncodeToString(make([]byte, 256))), errKnownAnswer)
	require.Error(t, katRSA("!"))
}

func TestPolicyVectorsCanFail(t *testing.T) {
	good, err := CreateRequest(requestTemplate(), mustKey(t))
	require.NoError(t, err)
	v := negativeRequest{"acceptable", base64.StdEncoding.EncodeToString(good), "sigalg_sha1"}
	require.Error(t, v.refusedBy(mustPolicy(t, "fips")))
	require.Error(t, negativeRequest{"x", "!", ""}.refusedBy(mustPolicy(t, "fips")))
	for _, name := range []string{"fips", "fips-2031", "cnsa1"} {
		for _, v := range negativeRequests() {
			require.NoError(t, v.refusedBy(mustPolicy(t, name)), name)
			v.code = "another"
			require.Error(t, v.refusedBy(mustPolicy(t, name)), name)
		}
	}
}

// The probe must notice when there is no filter: a plain build has none, and
// under a filter the controls stand in for refusals.
func TestTLSProbeCanFail(t *testing.T) {
	p, err := newTLSProbe()
	require.NoError(t, err)
	filtered := ActiveBackend() != None
	for _, h := range probeHellos() {
		if !h.refused {
			h.refused = true
			require.ErrorContains(t, p.hello(h), "filter is not active", h.name)
			continue
		}
		if filtered {
			h.refused = false
			require.ErrorContains(t, p.hello(h), "refused approved parameters", h.name)
			continue
		}
		require.ErrorContains(t, p.hello(h), "filter is not active", h.name)
	}
	if !filtered {
		require.ErrorContains(t, p.weakCertificate(vectorRSA1024Cert, vectorRSA1024Key), "filter is not active")
	}
	if ActiveBackend() != BoringCrypto {
		require.ErrorContains(t, p.weakCertificate(vectorEd25519Cert, vectorEd25519Key), "filter is not active")
	}
	require.Error(t, p.rawHandshake(tls.Certificate{Leaf: p.good.Leaf}), "a server without a certificate")
}

// The weak handshakes fail for the reason they are made for.
func TestTLSProbeFailsForTheRightReason(t *testing.T) {
	if ActiveBackend() == None {
		require.NoError(t, startedModule(t).Err(), "without a filter there is no refusal to look at")
		return
	}
	p, err := newTLSProbe()
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pemBlock("CERTIFICATE", vectorRSA1024Cert), pemBlock("PRIVATE KEY", vectorRSA1024Key))
	require.NoError(t, err)
	require.ErrorContains(t, p.rawHandshake(cert), "FIPS")
}

func TestSelfTestsAndErrMayRunAtTheSameTime(t *testing.T) {
	m := startedModule(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { m.SelfTest(day("2026-11-25")) })
		wg.Go(func() { _ = m.Err(); m.Report(ReportInput{Now: day("2026-11-25")}) })
	}
	wg.Wait()
	require.NoError(t, m.Err())
}

func TestErrTakesNoMemory(t *testing.T) {
	m := startedModule(t)
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = m.Err() }))
}

func BenchmarkStart(b *testing.B) {
	f := gatherFacts(func(string) string { return "" })
	o := StartOptions{Now: time.Unix(1790000000, 0), Policy: mustPolicy(b, "fips"), TestBinary: testbinary.Grant()}
	for b.Loop() {
		if _, err := start(o, f); err != nil {
			b.Fatal(err)
		}
	}
}

func pemBlock(kind, b64 string) []byte {
	var s strings.Builder
	s.WriteString("-----BEGIN " + kind + "-----\n")
	for len(b64) > 64 {
		s.WriteString(b64[:64] + "\n")
		b64 = b64[64:]
	}
	s.WriteString(b64 + "\n-----END " + kind + "-----\n")
	return []byte(s.String())
}
