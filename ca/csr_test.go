package ca_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

const ownURI = "spiffe://cluster.local/ns/default/sa/web"

func oid(numbers ...int) asn1.ObjectIdentifier { return numbers }

var (
	oidCN  = oid(2, 5, 4, 3)
	oidO   = oid(2, 5, 4, 10)
	oidKU  = oid(2, 5, 29, 15)
	oidBC  = oid(2, 5, 29, 19)
	oidEKU = oid(2, 5, 29, 37)
	oidNC  = oid(2, 5, 29, 30)
	oidMS  = oid(1, 3, 6, 1, 4, 1, 311, 2, 1, 14)
	oidCT  = oid(1, 3, 6, 1, 4, 1, 11129, 2, 4, 3)

	bcCA       = catest.Extension(oidBC, true, []byte{0x30, 0x03, 0x01, 0x01, 0xff})
	bcNotCA    = catest.Extension(oidBC, true, []byte{0x30, 0x00})
	ownSAN     = catest.SAN(catest.Name(6, ownURI))
	victimSAN  = catest.SAN(catest.Name(6, "spiffe://cluster.local/ns/default/sa/victim"))
	derSHA1EC  = []byte{0x30, 0x09, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01}
	derSHA256R = []byte{0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00}
)

func fipsPolicy(t testing.TB) fips.Policy {
	t.Helper()
	p, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	return p
}

func parse(t testing.TB, der []byte) (ca.Request, error) {
	t.Helper()
	return ca.ParseRequest(der, ca.RequestOptions{Now: catest.Start}, fipsPolicy(t))
}

// TestRequestsOfRealProxiesAreAccepted holds the forms that proxies send today.
func TestRequestsOfRealProxiesAreAccepted(t *testing.T) {
	key := catest.GenerateKey(t, fips.ECDSAP256)
	rows := []struct {
		name string
		csr  catest.RawCSR
		want string
	}{
		{"ztunnel: empty subject, one critical URI", catest.RawCSR{Extensions: [][]byte{ownSAN}}, ownURI},
		{"pilot-agent: a single empty organization", catest.RawCSR{Subject: catest.Subject(oidO, 19, ""), Extensions: [][]byte{ownSAN}}, ownURI},
		{"no extension request at all", catest.RawCSR{}, ""},
		{"usages of a workload", catest.RawCSR{Extensions: [][]byte{
			ownSAN, bcNotCA,
			catest.Extension(oidKU, true, []byte{0x03, 0x02, 0x05, 0xa0}),
			catest.Extension(oidEKU, false, []byte{0x30, 0x14, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 1, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 2}),
		}}, ownURI},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r, err := parse(t, row.csr.Encode(t, key))
			require.NoError(t, err)
			require.Equal(t, row.want, r.Asked())
		})
	}
}

func TestRequestIsRefused(t *testing.T) {
	key := catest.GenerateKey(t, fips.ECDSAP256)
	ext := func(e ...[]byte) catest.RawCSR { return catest.RawCSR{Extensions: e} }
	san := func(names ...[]byte) catest.RawCSR { return ext(catest.SAN(names...)) }
	cn := func(tag uint8, s string) catest.RawCSR { return catest.RawCSR{Subject: catest.Subject(oidCN, tag, s)} }
	own := catest.Name(6, ownURI)
	manySANs := bytes.Repeat(own, 10_000)

	rows := []struct {
		name string
		csr  catest.RawCSR
		want ca.Reason
	}{
		{"two URIs, one a victim's", san(own, catest.Name(6, "spiffe://cluster.local/ns/default/sa/victim")), ca.ReasonCSRNames},
		{"own URI and a wildcard DNS name", san(own, catest.Name(2, "*.default.svc")), ca.ReasonCSRNames},
		{"own URI and IP 0.0.0.0", san(own, catest.Name(7, "\x00\x00\x00\x00")), ca.ReasonCSRNames},
		{"identity in the e-mail form", san(catest.Name(1, ownURI)), ca.ReasonCSRNames},
		{"identity in the DNS form", san(catest.Name(2, ownURI)), ca.ReasonCSRNames},
		{"empty list of names", san(), ca.ReasonCSRNames},
		{"empty URI", san(catest.Name(6, "")), ca.ReasonCSRNames},

		{"CA:TRUE", ext(ownSAN, bcCA), ca.ReasonCSRCA},
		{"path length without CA", ext(ownSAN, catest.Extension(oidBC, true, []byte{0x30, 0x03, 0x02, 0x01, 0x00})), ca.ReasonCSRCA},
		{"keyCertSign", ext(catest.Extension(oidKU, true, []byte{0x03, 0x02, 0x02, 0x04})), ca.ReasonCSRCA},
		{"cRLSign", ext(catest.Extension(oidKU, true, []byte{0x03, 0x02, 0x01, 0x02})), ca.ReasonCSRCA},
		{"dataEncipherment", ext(catest.Extension(oidKU, true, []byte{0x03, 0x02, 0x04, 0x10})), ca.ReasonCSRUsage},
		{"any extended key usage", ext(catest.Extension(oidEKU, false, []byte{0x30, 0x06, 0x06, 0x04, 0x55, 0x1d, 0x25, 0x00})), ca.ReasonCSRUsage},
		{"OCSP signing", ext(catest.Extension(oidEKU, false, []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 9})), ca.ReasonCSRUsage},
		{"empty extended key usage", ext(catest.Extension(oidEKU, false, []byte{0x30, 0x00})), ca.ReasonCSREncoding},
		{"name constraints", ext(catest.Extension(oidNC, true, []byte{0x30, 0x00})), ca.ReasonCSRExtension},
		{"CT poison", ext(catest.Extension(oidCT, true, []byte{0x05, 0x00})), ca.ReasonCSRExtension},
		{"basic constraints twice, in conflict", ext(bcNotCA, bcCA), ca.ReasonCSRExtension},
		{"unknown extension, critical", ext(catest.Extension(oid(1, 2, 3, 4), true, []byte{0x05, 0x00})), ca.ReasonCSRExtension},

		{"names twice", ext(ownSAN, victimSAN), ca.ReasonCSRExtension},
		{"names in Microsoft's attribute too", catest.RawCSR{Attributes: [][]byte{
			catest.ExtensionRequest(ownSAN), catest.Attribute(oidMS, catest.Sequence(victimSAN)),
		}}, ca.ReasonCSRAttribute},
		{"names in Microsoft's attribute only", catest.RawCSR{Attributes: [][]byte{catest.Attribute(oidMS, catest.Sequence(victimSAN))}}, ca.ReasonCSRAttribute},
		{"two extension requests", catest.RawCSR{Attributes: [][]byte{
			catest.ExtensionRequest(ownSAN), catest.ExtensionRequest(victimSAN),
		}}, ca.ReasonCSRAttribute},
		{"challenge password", catest.RawCSR{Attributes: [][]byte{catest.Attribute(oid(1, 2, 840, 113549, 1, 9, 7), []byte{0x13, 0x01, 'x'})}}, ca.ReasonCSRAttribute},

		{"common name", cn(12, "web"), ca.ReasonCSRSubject},
		{"NUL in the common name", cn(12, "web\x00.evil"), ca.ReasonCSRSubject},
		{"line breaks in the common name", cn(12, "web\r\nissued: victim"), ca.ReasonCSRSubject},
		{"right-to-left override in the common name", cn(12, "web\u202egnp"), ca.ReasonCSRSubject},
		{"invalid UTF-8 in the common name", cn(12, "\xff\xfe"), ca.ReasonCSRSubject},
		{"BMPString common name", cn(30, "\x00w\x00e"), ca.ReasonCSRSubject},
		{"T61String common name", cn(20, "web"), ca.ReasonCSRSubject},
		{"JSON in the common name", cn(12, `"},{"sans":["spiffe://x/y"]`), ca.ReasonCSRSubject},
		{"organization that is not empty", catest.RawCSR{Subject: catest.Subject(oidO, 19, "system:masters")}, ca.ReasonCSRSubject},

		{"signature over other bytes", catest.RawCSR{BadSig: true}, ca.ReasonCSRSignature},
		{"SHA-1 signature", catest.RawCSR{Algorithm: derSHA1EC}, ca.ReasonCSRSigAlgorithm},
		{"RSA algorithm over an EC key", catest.RawCSR{Algorithm: derSHA256R}, ca.ReasonCSRSignature},
		{"version 1", catest.RawCSR{Version: 1}, ca.ReasonCSRVersion},
		{"no attributes field, which RFC 2986 §4.1 demands", catest.RawCSR{NoAttrs: true}, ca.ReasonCSREncoding},
		{"bytes after the attributes", catest.RawCSR{TrailInfo: []byte{0x05, 0x00}}, ca.ReasonCSREncoding},
		{"bytes after the request", catest.RawCSR{AfterOuter: []byte{0}}, ca.ReasonCSREncoding},
		{"length of one gigabyte", catest.RawCSR{ClaimLength: 1 << 30}, ca.ReasonCSREncoding},
		{"ten thousand names", ext(catest.SAN(manySANs)), ca.ReasonCSRTooLarge},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := parse(t, row.csr.Encode(t, key))
			require.Equal(t, row.want, ca.ReasonOf(err), "%v", err)
		})
	}
}

func TestKeyOfRequestIsRefused(t *testing.T) {
	signer := catest.GenerateKey(t, fips.ECDSAP256)
	good, err := x509.MarshalPKIXPublicKey(signer.Public())
	require.NoError(t, err)
	point := func(change func(p []byte) []byte) []byte {
		spki := bytes.Clone(good)
		return append(spki[:len(spki)-65], change(spki[len(spki)-65:])...)
	}
	rsaKey := func(n *big.Int, e int) []byte {
		spki, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: e})
		require.NoError(t, err)
		return spki
	}
	spkiOf := func(pub crypto.PublicKey) []byte {
		spki, err := x509.MarshalPKIXPublicKey(pub)
		require.NoError(t, err)
		return spki
	}
	bits := func(n int) *big.Int { // an odd number of exactly n bits
		x := new(big.Int).Lsh(big.NewInt(1), uint(n-1))
		return x.SetBit(x.Add(x, big.NewInt(12345678)), 0, 1)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	edPub, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	prime, err := rand.Prime(rand.Reader, 1024)
	require.NoError(t, err)
	next := new(big.Int).Add(prime, big.NewInt(2))
	for !next.ProbablyPrime(20) {
		next.Add(next, big.NewInt(2))
	}

	rows := []struct {
		name string
		spki []byte
		want []ca.Reason // some are refused by the parser first
	}{
		{"P-224", spkiOf(&p224.PublicKey), []ca.Reason{ca.ReasonKeyUnsupported}},
		{"Ed25519", spkiOf(edPub), []ca.Reason{ca.ReasonKeyUnsupported}},
		{"point not on the curve", point(func(p []byte) []byte { p[64] ^= 1; return p }), []ca.Reason{ca.ReasonCSREncoding}},
		{"point at infinity", point(func([]byte) []byte { return make([]byte, 65) }), []ca.Reason{ca.ReasonCSREncoding}},
		{"compressed point in 65 bytes", point(func(p []byte) []byte { p[0] = 2; return p }), []ca.Reason{ca.ReasonCSREncoding}},
		{"RSA 512", rsaKey(bits(512), 65537), []ca.Reason{ca.ReasonKeyUnsupported}},
		{"RSA 1024", rsaKey(bits(1024), 65537), []ca.Reason{ca.ReasonKeyUnsupported}},
		{"RSA 16384", rsaKey(bits(16384), 65537), []ca.Reason{ca.ReasonKeyUnsupported}},
		{"RSA e=1", rsaKey(bits(2048), 1), []ca.Reason{ca.ReasonKeyUnsupported, ca.ReasonKeyWeak}},
		{"RSA e=3", rsaKey(bits(2048), 3), []ca.Reason{ca.ReasonKeyUnsupported, ca.ReasonKeyWeak}},
		{"RSA e even", rsaKey(bits(2048), 65538), []ca.Reason{ca.ReasonKeyUnsupported, ca.ReasonKeyWeak}},
		{"RSA n even", rsaKey(new(big.Int).Lsh(big.NewInt(3), 2046), 65537), []ca.Reason{ca.ReasonKeyUnsupported, ca.ReasonKeyWeak}},
		{"RSA with close factors", rsaKey(new(big.Int).Mul(prime, next), 65537), []ca.Reason{ca.ReasonKeyWeak}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := parse(t, catest.RawCSR{SPKI: row.spki}.Encode(t, signer))
			require.Contains(t, row.want, ca.ReasonOf(err), "%v", err)
		})
	}
}

func TestEncodingOfRequestIsRefused(t *testing.T) {
	key := catest.GenerateKey(t, fips.ECDSAP256)
	good := catest.CSR(t, key, ownURI)
	indefinite := append([]byte{0x30, 0x80}, good[4:]...)
	deep := bytes.Repeat([]byte{0x30, 0x80}, 1500)
	rows := []struct {
		name string
		der  []byte
		want ca.Reason
	}{
		{"nothing", nil, ca.ReasonCSREncoding},
		{"one byte", []byte{0x30}, ca.ReasonCSREncoding},
		{"64 KiB", make([]byte, 64<<10), ca.ReasonCSRTooLarge},
		{"4 MiB", make([]byte, 4<<20), ca.ReasonCSRTooLarge},
		{"indefinite length", append(indefinite, 0, 0), ca.ReasonCSREncoding},
		{"deep nesting", deep, ca.ReasonCSREncoding},
		{"many tiny attributes", catest.RawCSR{Attributes: [][]byte{bytes.Repeat(catest.Attribute(oid(1, 2, 3), []byte{5, 0}), 200)}}.Encode(t, key), ca.ReasonCSRAttribute},
		{"PEM where DER belongs", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good}), ca.ReasonCSREncoding},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := parse(t, row.der)
			require.Equal(t, row.want, ca.ReasonOf(err), "%v", err)
		})
	}
	t.Run("every truncation", func(t *testing.T) {
		for n := range good {
			_, err := parse(t, good[:n])
			require.Equal(t, ca.ReasonCSREncoding, ca.ReasonOf(err), "%d bytes", n)
		}
	})
}

func TestPEMOfRequestIsRefused(t *testing.T) {
	key := catest.GenerateKey(t, fips.ECDSAP256)
	good := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: catest.CSR(t, key, ownURI)}))
	rows := []struct {
		name, pem string
		want      ca.Reason
	}{
		{"two blocks", good + good, ca.ReasonCSREncoding},
		{"text before", "hello\n" + good, ca.ReasonCSREncoding},
		{"text after", good + "hello", ca.ReasonCSREncoding},
		{"another type", strings.ReplaceAll(good, "CERTIFICATE REQUEST", "CERTIFICATE"), ca.ReasonCSREncoding},
		{"headers", strings.Replace(good, "REQUEST-----\n", "REQUEST-----\nProc-Type: 4,ENCRYPTED\n\n", 1), ca.ReasonCSREncoding},
		{"a megabyte of BEGIN", strings.Repeat("-----BEGIN ", 1<<20/11), ca.ReasonCSRTooLarge},
		{"eight kilobytes of BEGIN", strings.Repeat("-----BEGIN ", 700), ca.ReasonCSREncoding},
		{"nothing", "", ca.ReasonCSREncoding},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := ca.DecodeCSRPEM([]byte(row.pem))
			require.Equal(t, row.want, ca.ReasonOf(err), "%v", err)
		})
	}
	der, err := ca.DecodeCSRPEM([]byte(good + "\n"))
	require.NoError(t, err)
	_, err = parse(t, der)
	require.NoError(t, err)
}

func TestLifetimeOfRequestIsJudged(t *testing.T) {
	c := catest.New(t)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	rows := []struct {
		name string
		ttl  time.Duration
		want time.Duration // 0: refused
	}{
		{"none asked gives the default", 0, 24 * time.Hour},
		{"the minimum", 5 * time.Minute, 5 * time.Minute},
		{"an hour", time.Hour, time.Hour},
		{"a week is shortened", 7 * 24 * time.Hour, 24 * time.Hour},
		{"the largest number is shortened", math.MaxInt64, 24 * time.Hour},
		{"a nanosecond is refused", 1, 0},
		{"just below the minimum is refused", 5*time.Minute - 1, 0},
		{"minus one is refused", -1, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r, err := ca.ParseRequest(catest.CSR(t, key, ownURI), ca.RequestOptions{Now: c.Clock.Now(), TTL: row.ttl}, c.FIPS)
			var issued ca.Issued
			if err == nil {
				issued, err = c.Authority.Issue(t.Context(), c.Caller(t, "web"), r)
			}
			if row.want == 0 {
				require.Equal(t, ca.ReasonTTL, ca.ReasonOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.want, issued.NotAfter.Sub(catest.Start))
		})
	}
}
