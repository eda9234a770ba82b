package ca_test

import (
	"crypto/x509"
	"testing"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// FuzzIssue feeds bytes as a CSR of one fixed caller. The oracle: whatever is
// issued parses again, names exactly the caller, holds exactly the CSR's key, is
// no CA, and verifies against the bundle.
func FuzzIssue(f *testing.F) {
	c := catest.New(f)
	key := catest.GenerateKey(f, fips.ECDSAP256)
	f.Add(catest.CSR(f, key, ownURI))
	f.Add(catest.RawCSR{Extensions: [][]byte{ownSAN, bcNotCA}}.Encode(f, key))
	f.Add(catest.RawCSR{Extensions: [][]byte{victimSAN, bcCA}}.Encode(f, key))
	f.Add(catest.RawCSR{Subject: catest.Subject(oidO, 19, "")}.Encode(f, catest.GenerateKey(f, fips.RSA2048)))
	caller := c.Caller(f, "web")
	between := x509.NewCertPool()
	between.AddCert(c.Intermediate.Certificate())
	f.Fuzz(func(t *testing.T, der []byte) {
		request, err := ca.ParseRequest(der, ca.RequestOptions{Now: catest.Start}, c.FIPS)
		if err != nil {
			require.Equal(t, ca.Malformed, ca.ReasonOf(err).Class(), "%v", err)
			return
		}
		issued, err := c.Authority.Issue(t.Context(), caller, request)
		if err != nil {
			require.Contains(t, []ca.Class{ca.Denied, ca.Malformed}, ca.ReasonOf(err).Class(), "%v", err)
			return
		}
		leaf, err := x509.ParseCertificate(issued.Leaf)
		require.NoError(t, err)
		csr, err := x509.ParseCertificateRequest(der)
		require.NoError(t, err)
		require.Equal(t, csr.RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo)
		require.Len(t, leaf.URIs, 1)
		require.Equal(t, ownURI, leaf.URIs[0].String())
		require.Empty(t, leaf.DNSNames)
		require.Empty(t, leaf.IPAddresses)
		require.Empty(t, leaf.EmailAddresses)
		require.False(t, leaf.IsCA)
		_, err = leaf.Verify(x509.VerifyOptions{Roots: c.Bundle.Pool(), Intermediates: between, CurrentTime: catest.Start})
		require.NoError(t, err)
	})
}

// FuzzIssueForAName is the same for a caller that asks for its DNS name, as
// Linkerd's proxies do.
func FuzzIssueForAName(f *testing.F) {
	c := catest.New(f)
	c.Authority.SetPolicy(linkerdPolicy(f, c))
	key := catest.GenerateKey(f, fips.ECDSAP256)
	f.Add(namedCSR(f, key, ownName), ownName)
	f.Add(namedCSR(f, key, "db.default."+accounts), "db.default."+accounts)
	f.Add(catest.CSR(f, key, ownURI), "")
	caller := c.Caller(f, "web")
	f.Fuzz(func(t *testing.T, der []byte, name string) {
		request, err := ca.ParseRequest(der, ca.RequestOptions{Now: catest.Start, DNSName: name}, c.FIPS)
		if err != nil {
			require.Equal(t, ca.Malformed, ca.ReasonOf(err).Class(), "%v", err)
			return
		}
		issued, err := c.Authority.Issue(t.Context(), caller, request)
		if err != nil {
			require.Contains(t, []ca.Class{ca.Denied, ca.Malformed}, ca.ReasonOf(err).Class(), "%v", err)
			return
		}
		require.Contains(t, []string{"", ownName}, name)
		leaf, err := x509.ParseCertificate(issued.Leaf)
		require.NoError(t, err)
		require.Equal(t, []string{ownName}, leaf.DNSNames)
		require.Len(t, leaf.URIs, 1)
		require.Equal(t, ownURI, leaf.URIs[0].String())
		require.Empty(t, leaf.IPAddresses)
		require.Empty(t, leaf.EmailAddresses)
		require.Empty(t, leaf.Subject.Names)
		require.NoError(t, leaf.CheckSignatureFrom(c.Intermediate.Certificate()))
	})
}
