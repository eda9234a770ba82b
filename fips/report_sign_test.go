package fips

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func signedReport(t testing.TB, a *authority, edit func(*Report)) ([]byte, crypto.Signer) {
	t.Helper()
	r := identifiedModule(t, boringFacts()).Report(ReportInput{Now: day("2026-11-24").Add(12 * time.Hour)})
	if edit != nil {
		edit(&r)
	}
	b, err := json.Marshal(r)
	require.NoError(t, err)
	s := mustKey(t)
	signed, err := SignReport(b, s, [][]byte{a.serving(t, s.Public(), x509.ExtKeyUsageServerAuth)})
	require.NoError(t, err)
	return signed, s
}

func TestSignedReportVerifies(t *testing.T) {
	a := newAuthority(t)
	signed, s := signedReport(t, a, nil)
	r, cert, err := VerifyReport(signed, a.pool, day("2026-11-24").Add(13*time.Hour))
	require.NoError(t, err)
	require.Equal(t, VerdictApproved, r.Verdict)
	require.Equal(t, "4735", r.Module.CMVP)
	require.True(t, PublicKeyEqual(s.Public(), cert.PublicKey))
}

// A report of a later program of the same schema has fields this one does not
// know.
func TestSignedReportWithNewerFieldsVerifies(t *testing.T) {
	a := newAuthority(t)
	s := mustKey(t)
	payload := []byte(`{"schema":"fips-report/v1","time":"2026-11-24T12:00:00Z","verdict":"approved-mode","novelty":1}`)
	signed, err := SignReport(payload, s, [][]byte{a.serving(t, s.Public(), x509.ExtKeyUsageServerAuth)})
	require.NoError(t, err)
	_, _, err = VerifyReport(signed, a.pool, day("2026-11-24").Add(13*time.Hour))
	require.NoError(t, err)
}

func TestVerifyReportRefusals(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	noon := day("2026-11-24").Add(12 * time.Hour)
	envelope := func(edit func(*SignedReport)) func() []byte {
		return func() []byte {
			signed, _ := signedReport(t, a, nil)
			var e SignedReport
			require.NoError(t, json.Unmarshal(signed, &e))
			edit(&e)
			b, err := json.Marshal(e)
			require.NoError(t, err)
			return b
		}
	}
	report := func(edit func(*Report)) func() []byte {
		return func() []byte { b, _ := signedReport(t, a, edit); return b }
	}
	rows := []struct {
		name   string
		signed func() []byte
		roots  *x509.CertPool
		now    time.Time
		want   string
	}{
		{"no anchors", report(nil), nil, noon, "no anchors"},
		{"another CA", report(nil), other.pool, noon, "verifying chain"},
		{"expired certificate", report(nil), a.pool, day("2026-11-26"), "expired"},
		{"verified before it was made", report(nil), a.pool, noon.Add(-time.Hour), "future"},
		{"report older than its signer", report(func(r *Report) { r.Time = day("2026-11-23") }), a.pool, noon, "life of the signer"},
		{"another schema", envelope(func(e *SignedReport) { e.Payload = []byte(`{"schema":"fips-report/v2"}`) }), a.pool, noon, "does not verify"},
		{"changed verdict", envelope(func(e *SignedReport) { e.Payload = append([]byte{' '}, e.Payload...) }), a.pool, noon, "does not verify"},
		{"another payload type", envelope(func(e *SignedReport) { e.PayloadType = "application/json" }), a.pool, noon, "payload type"},
		{"no signature", envelope(func(e *SignedReport) { e.Signatures = nil }), a.pool, noon, "signatures"},
		{"two signatures", envelope(func(e *SignedReport) { e.Signatures = append(e.Signatures, e.Signatures[0]) }), a.pool, noon, "signatures"},
		{"no chain", envelope(func(e *SignedReport) { e.Signatures[0].Chain = nil }), a.pool, noon, "chain of 0"},
		{"endless chain", envelope(func(e *SignedReport) { e.Signatures[0].Chain = make([][]byte, 9) }), a.pool, noon, "chain of 9"},
		{"unparsable certificate", envelope(func(e *SignedReport) { e.Signatures[0].Chain[0] = []byte{1} }), a.pool, noon, "parsing certificate"},
		{"certificate of another key", envelope(func(e *SignedReport) {
			e.Signatures[0].Chain[0] = a.serving(t, mustKey(t).Public(), x509.ExtKeyUsageServerAuth)
		}), a.pool, noon, "does not verify"},
		{"client certificate", envelope(func(e *SignedReport) {
			e.Signatures[0].Chain[0] = a.serving(t, mustKey(t).Public(), x509.ExtKeyUsageClientAuth)
		}), a.pool, noon, "incompatible key usage"},
		{"RSA-1024 certificate", envelope(func(e *SignedReport) {
			e.Signatures[0].Chain[0] = a.serving(t, rsa1024(t), x509.ExtKeyUsageServerAuth)
		}), a.pool, noon, "key_rsa_too_small"},
		{"trailing data", func() []byte { b, _ := signedReport(t, a, nil); return append(b, "{}"...) }, a.pool, noon, "trailing"},
		{"unknown field", func() []byte { return []byte(`{"payloadtype":1,"x":2}`) }, a.pool, noon, "reading envelope"},
		{"too large", func() []byte { return make([]byte, signedReportSize+1) }, a.pool, noon, "too large"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got, cert, err := VerifyReport(r.signed(), r.roots, r.now)
			require.ErrorContains(t, err, r.want)
			require.Nil(t, cert)
			require.Equal(t, Report{}, got)
		})
	}
}

func rsa1024(t testing.TB) crypto.PublicKey {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(vectorRSA1024Cert)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c.PublicKey
}

func TestSignReportRefusals(t *testing.T) {
	a := newAuthority(t)
	s := mustKey(t)
	good := []byte(`{"schema":"fips-report/v1"}`)
	chain := [][]byte{a.serving(t, s.Public(), x509.ExtKeyUsageServerAuth)}
	_, err := SignReport(good, s, chain)
	require.NoError(t, err)
	for name, try := range map[string]func() ([]byte, error){
		"not a report":              func() ([]byte, error) { return SignReport([]byte(`{"schema":"x"}`), s, chain) },
		"not JSON":                  func() ([]byte, error) { return SignReport([]byte(`x`), s, chain) },
		"no chain":                  func() ([]byte, error) { return SignReport(good, s, nil) },
		"unparsable certificate":    func() ([]byte, error) { return SignReport(good, s, [][]byte{{1}}) },
		"another key's certificate": func() ([]byte, error) { return SignReport(good, mustKey(t), chain) },
	} {
		signed, err := try()
		require.Error(t, err, name)
		require.Nil(t, signed, name)
	}
}

// The encoding is DSSE's own example (protocol.md of the specification).
func TestPreAuthEncodingIsDSSE(t *testing.T) {
	require.Equal(t, "DSSEv1 29 http://example.com/HelloWorld 11 hello world",
		string(preAuthEncoding("http://example.com/HelloWorld", []byte("hello world"))))
}

// goldenReport is an envelope made by an earlier build and the anchor of its
// signer, whose key nobody has.
func goldenReport(t testing.TB) ([]byte, *x509.CertPool) {
	t.Helper()
	signed, err := os.ReadFile("testdata/report-signed.json")
	require.NoError(t, err)
	anchor, err := os.ReadFile("testdata/report-root.pem")
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(anchor))
	return signed, pool
}

// What an auditor filed once must verify with every later program.
func TestEnvelopeOfAnEarlierBuildVerifies(t *testing.T) {
	signed, pool := goldenReport(t)
	r, _, err := VerifyReport(signed, pool, day("2026-11-24").Add(13*time.Hour))
	require.NoError(t, err)
	require.Equal(t, "4735", r.Module.CMVP)
}

func FuzzVerifyReport(f *testing.F) {
	signed, pool := goldenReport(f)
	var original SignedReport
	require.NoError(f, json.Unmarshal(signed, &original))
	f.Add(signed)
	f.Add([]byte(`{"payloadType":"application/vnd.kedge.fips-report.v1+json","payload":"e30=","signatures":[{"chain":["AA=="]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, cert, err := VerifyReport(b, pool, day("2026-11-24").Add(13*time.Hour))
		if err != nil {
			return
		}
		// Whatever verifies carries the bytes that were signed.
		var e SignedReport
		require.NoError(t, json.Unmarshal(b, &e))
		require.Equal(t, original.Payload, e.Payload)
		require.Equal(t, ReportSchema, r.Schema)
		require.Equal(t, original.Signatures[0].Chain[0], cert.Raw)
	})
}
