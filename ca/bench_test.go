package ca_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// benchKeys is how many different requests a benchmark cycles through: each
// stands for one workload with its own key.
const benchKeys = 512

// BenchmarkIssue is the whole of issuance in process: parse, policy, prepare,
// check, record (in memory), sign.
func BenchmarkIssue(b *testing.B) { benchmarkIssue(b, catest.New(b)) }

// BenchmarkIssueWithoutEvidence is the same without counting leaves for rotations.
// test/tools/evidence-cost compares the two.
func BenchmarkIssueWithoutEvidence(b *testing.B) {
	c := catest.New(b)
	c.Authority.Uncount()
	benchmarkIssue(b, c)
}

// BenchmarkEvidence is that counting alone, beside 100 000 live leaves.
func BenchmarkEvidence(b *testing.B) {
	c := catest.New(b)
	key := ca.LiveKey{Profile: "workload", Method: ca.MethodKubernetes, BundleSeq: 1, NotAfter: catest.Start.Add(time.Hour)}
	serials := make([]string, 1<<17)
	for i := range serials {
		serials[i] = fmt.Sprintf("%032x", uint64(i+1)*0x9e3779b97f4a7c15)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key.Serial = serials[i%len(serials)]
		c.Authority.Count(key)
	}
}

func benchmarkIssue(b *testing.B, c *catest.CA) {
	b.Helper()
	c.Recorder.Discard = true
	csrs := make([][]byte, benchKeys)
	callers := make([]ca.Caller, benchKeys)
	for i := range csrs {
		name := "w" + string(rune('a'+i%26)) + string(rune('a'+i/26%26))
		csrs[i] = catest.CSR(b, catest.GenerateKey(b, fips.ECDSAP256), "spiffe://cluster.local/ns/default/sa/"+name)
		callers[i] = c.Caller(b, name)
	}
	options := ca.RequestOptions{Now: catest.Start}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r, err := ca.ParseRequest(csrs[i%benchKeys], options, c.FIPS)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Authority.Issue(b.Context(), callers[i%benchKeys], r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareLoop is the floor: the standard library's parse, check and create
// with nothing decided, checked or recorded.
func BenchmarkBareLoop(b *testing.B) {
	c := catest.New(b)
	issuerKey := c.Intermediate.Signer()
	csrs := make([][]byte, benchKeys)
	for i := range csrs {
		csrs[i] = catest.CSR(b, catest.GenerateKey(b, fips.ECDSAP256), ownURI)
	}
	id, err := url.Parse(ownURI)
	require.NoError(b, err)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := bareIssue(csrs[i%benchKeys], id, c.Intermediate.Certificate(), issuerKey); err != nil {
			b.Fatal(err)
		}
	}
}

func bareIssue(der []byte, id *url.URL, parent *x509.Certificate, key crypto.Signer) error {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	if err := csr.CheckSignature(); err != nil {
		return err
	}
	serial := make([]byte, 20)
	if _, err := rand.Read(serial); err != nil {
		return err
	}
	serial[0] &= 0x7f
	_, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), NotBefore: catest.Start, NotAfter: catest.Start.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, URIs: []*url.URL{id},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, parent, csr.PublicKey, key)
	return err
}
