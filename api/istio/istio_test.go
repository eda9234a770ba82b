package istio_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// day is what a sidecar asks for, in seconds.
const day = 86400

func pemCSR(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// request is what a sidecar with the name a sends.
func request(t *testing.T, s *apitest.Server) *securityapi.IstioCertificateRequest {
	t.Helper()
	return &securityapi.IstioCertificateRequest{
		Csr: pemCSR(apitest.CSR(t, s.Identity("a"))), ValidityDuration: day, Metadata: metadata(t, map[string]any{"CertSigner": ""}),
	}
}

func metadata(t *testing.T, fields map[string]any) *structpb.Struct {
	t.Helper()
	m, err := structpb.NewStruct(fields)
	require.NoError(t, err)
	return m
}

func newClient(t *testing.T, s *apitest.Server) securityapi.IstioCertificateServiceClient {
	t.Helper()
	return securityapi.NewIstioCertificateServiceClient(s.Dial(t, nil))
}

// decode is the DER of one element, which holds n certificates and nothing else.
func decode(t *testing.T, element string, n int) [][]byte {
	t.Helper()
	var ders [][]byte
	rest := []byte(element)
	for len(rest) > 0 {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		require.NotNil(t, block, "bytes that are no PEM")
		require.Equal(t, "CERTIFICATE", block.Type)
		require.Empty(t, block.Headers)
		ders = append(ders, block.Bytes)
	}
	require.Len(t, ders, n)
	return ders
}

// TestTheChainHasTheShapeThatProxiesRead: the leaf, one intermediate in each
// element, and all roots together in the last. ztunnel drops what shares an
// element with an intermediate; pilot-agent refuses fewer than two elements.
func TestTheChainHasTheShapeThatProxiesRead(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	r, err := newClient(t, s).CreateCertificate(s.As(t, "a"), request(t, s))
	require.NoError(t, err)
	chain := r.GetCertChain()
	require.Len(t, chain, 3)
	leaf, intermediate := decode(t, chain[0], 1)[0], decode(t, chain[1], 1)[0]
	roots := decode(t, chain[2], 2)
	require.Equal(t, s.CA.Intermediate.Certificate().Raw, intermediate)
	require.Equal(t, string(s.CA.Bundle.PEM()), chain[2], "agents compare these bytes")
	for i, a := range s.CA.Bundle.Anchors() {
		require.Equal(t, a.Certificate.Raw, roots[i])
	}
	cert := apitest.RequireLeaf(t, s.Identity("a"), leaf, [][]byte{intermediate}, s.CA.Bundle)
	require.True(t, critical(t, cert, "2.5.29.17"), "the names are critical, since there is no subject")
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, cert.ExtKeyUsage)
	// Joined as pilot-agent joins them, the chain begins with the leaf.
	require.True(t, strings.HasPrefix(strings.Join(chain, ""), chain[0]))
}

func critical(t *testing.T, c *x509.Certificate, oid string) bool {
	t.Helper()
	for _, e := range c.Extensions {
		if e.Id.String() == oid {
			return e.Critical
		}
	}
	require.Fail(t, "no extension "+oid)
	return false
}

// TestTheLastElementChangesOnlyWithTheBundle: an agent that sees other bytes
// pushes new roots to Envoy.
func TestTheLastElementChangesOnlyWithTheBundle(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := newClient(t, s)
	last := func() string {
		r, err := client.CreateCertificate(s.As(t, "a"), request(t, s))
		require.NoError(t, err)
		return r.GetCertChain()[len(r.GetCertChain())-1]
	}
	before := last()
	require.Equal(t, before, last())
	bundle := s.Republish(t)
	after := last()
	require.NotEqual(t, before, after)
	require.Equal(t, string(bundle.PEM()), after)
	// A new intermediate under the same bundle is another chain with the same roots.
	next := s.CA.NewIntermediate(t, catest.GenerateKey(t, fips.ECDSAP256))
	_, err := s.CA.Authority.Swap(next, bundle)
	require.NoError(t, err)
	r, err := client.CreateCertificate(s.As(t, "a"), request(t, s))
	require.NoError(t, err)
	require.Equal(t, next.Certificate().Raw, decode(t, r.GetCertChain()[1], 1)[0])
	require.Equal(t, after, r.GetCertChain()[2])
}

// TestLifetimesAreInSecondsAndCutToTheProfile: nothing or less asks for the
// default, as at istiod; too much is cut, as at istio-csr; too little is refused,
// since a backdated leaf would be due at once.
func TestLifetimesAreInSecondsAndCutToTheProfile(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := newClient(t, s)
	rows := []struct {
		seconds int64
		life    time.Duration // 0 is refused
	}{
		{math.MinInt64, 24 * time.Hour}, {-1, 24 * time.Hour}, {0, 24 * time.Hour},
		{1, 0}, {299, 0}, {300, 5 * time.Minute}, {3600, time.Hour}, {day - 1, 24*time.Hour - time.Second},
		{day, 24 * time.Hour}, {day + 1, 24 * time.Hour}, {1e9, 24 * time.Hour},
		{math.MaxInt64 / int64(time.Second), 24 * time.Hour}, {math.MaxInt64/int64(time.Second) + 1, 24 * time.Hour},
		{1 << 62, 24 * time.Hour}, {math.MaxInt64, 24 * time.Hour},
	}
	for _, row := range rows {
		r := request(t, s)
		r.ValidityDuration = row.seconds
		answer, err := client.CreateCertificate(s.As(t, "a"), r)
		if row.life == 0 {
			require.Equal(t, codes.InvalidArgument, apitest.RequireRefused(t, ca.ReasonTTL, err).Code, row.seconds)
			continue
		}
		require.NoError(t, err, row.seconds)
		leaf, err := x509.ParseCertificate(decode(t, answer.GetCertChain()[0], 1)[0])
		require.NoError(t, err)
		now := s.Clock.Now().Truncate(time.Second)
		require.Equal(t, row.life, leaf.NotAfter.Sub(now), row.seconds)
		require.LessOrEqual(t, now.Sub(leaf.NotBefore), row.life/10, "backdate, %d", row.seconds)
	}
}

func TestMetadataOfARequest(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	own := s.Identity("a")
	rows := map[string]struct {
		fields map[string]any
		reason ca.Reason // "" is issued
		ttl    time.Duration
	}{
		"none at all":              {nil, "", 24 * time.Hour},
		"an empty signer":          {map[string]any{"CertSigner": ""}, "", 24 * time.Hour},
		"a signer that exists":     {map[string]any{"CertSigner": "short"}, "", time.Hour},
		"a signer that does not":   {map[string]any{"CertSigner": "nobody"}, ca.ReasonProfile, 0},
		"a Kubernetes signer":      {map[string]any{"CertSigner": "clusterissuers.cert-manager.io/x"}, ca.ReasonProfile, 0},
		"the server's own profile": {map[string]any{"CertSigner": "server"}, ca.ReasonPolicy, 0},
		"a signer in other case":   {map[string]any{"CertSigner": "Short"}, ca.ReasonProfile, 0},
		"a signer of 60 KiB":       {map[string]any{"CertSigner": strings.Repeat("x", 60<<10)}, ca.ReasonProfile, 0},
		"a signer that is null":    {map[string]any{"CertSigner": nil}, ca.ReasonRequest, 0},
		"a signer that is a list":  {map[string]any{"CertSigner": []any{"short"}}, ca.ReasonRequest, 0},
		"a signer that is true":    {map[string]any{"CertSigner": true}, ca.ReasonRequest, 0},

		"nobody impersonated":           {map[string]any{"ImpersonatedIdentity": ""}, "", 24 * time.Hour},
		"itself impersonated":           {map[string]any{"ImpersonatedIdentity": own}, ca.ReasonImpersonation, 0},
		"another impersonated":          {map[string]any{"ImpersonatedIdentity": s.Identity("victim")}, ca.ReasonImpersonation, 0},
		"the CA impersonated":           {map[string]any{"ImpersonatedIdentity": "spiffe://cluster.local/kedge/ca"}, ca.ReasonImpersonation, 0},
		"another trust domain's":        {map[string]any{"ImpersonatedIdentity": "spiffe://other/ns/default/sa/a"}, ca.ReasonImpersonation, 0},
		"a list of one":                 {map[string]any{"ImpersonatedIdentity": []any{own}}, ca.ReasonImpersonation, 0},
		"an object":                     {map[string]any{"ImpersonatedIdentity": map[string]any{"": own}}, ca.ReasonImpersonation, 0},
		"null":                          {map[string]any{"ImpersonatedIdentity": nil}, ca.ReasonImpersonation, 0},
		"a number":                      {map[string]any{"ImpersonatedIdentity": 0}, ca.ReasonImpersonation, 0},
		"the key in other case":         {map[string]any{"impersonatedidentity": s.Identity("victim")}, ca.ReasonImpersonation, 0},
		"the key in capitals":           {map[string]any{"IMPERSONATEDIDENTITY": s.Identity("victim")}, ca.ReasonImpersonation, 0},
		"both, the wrong type first":    {map[string]any{"CertSigner": 1, "ImpersonatedIdentity": s.Identity("victim")}, ca.ReasonImpersonation, 0},
		"a key that nobody knows":       {map[string]any{"ClusterName": "x"}, "", 24 * time.Hour},
		"an identity under another key": {map[string]any{"Identity": s.Identity("victim")}, "", 24 * time.Hour},
	}
	client := newClient(t, s)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := request(t, s)
			r.ValidityDuration = 0
			r.Metadata = nil
			if row.fields != nil {
				r.Metadata = metadata(t, row.fields)
			}
			before := len(s.CA.Recorder.Records())
			answer, err := client.CreateCertificate(s.As(t, "a"), r)
			if row.reason != "" {
				apitest.RequireRefused(t, row.reason, err)
				require.Len(t, s.CA.Recorder.Records(), before)
				return
			}
			require.NoError(t, err)
			der := decode(t, answer.GetCertChain()[0], 1)[0]
			leaf := apitest.RequireLeaf(t, own, der, [][]byte{decode(t, answer.GetCertChain()[1], 1)[0]}, s.CA.Bundle)
			require.Equal(t, row.ttl, leaf.NotAfter.Sub(s.Clock.Now().Truncate(time.Second)))
		})
	}
}

func TestTheCSRIsOnePEMBlock(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	good := request(t, s).GetCsr()
	der, _ := pem.Decode([]byte(good))
	rows := map[string]struct {
		csr    string
		reason ca.Reason // "" is issued
	}{
		"as sidecars send it":          {good, ""},
		"with CRLF":                    {strings.ReplaceAll(good, "\n", "\r\n"), ""},
		"of the old type":              {strings.ReplaceAll(good, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"), ""},
		"nothing":                      {"", ca.ReasonCSREncoding},
		"DER":                          {strings.ToValidUTF8(string(der.Bytes), "?"), ca.ReasonCSREncoding},
		"two blocks":                   {good + good, ca.ReasonCSREncoding},
		"text before":                  {"hello\n" + good, ca.ReasonCSREncoding},
		"text after":                   {good + "hello", ca.ReasonCSREncoding},
		"another type":                 {strings.ReplaceAll(good, "CERTIFICATE REQUEST", "CERTIFICATE"), ca.ReasonCSREncoding},
		"a header":                     {strings.Replace(good, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1), ca.ReasonCSREncoding},
		"a megabyte of begin, nearly":  {strings.Repeat("-----BEGIN ", 5000), ca.ReasonCSRTooLarge},
		"8 KiB of begin":               {strings.Repeat("-----BEGIN ", 700), ca.ReasonCSREncoding},
		"another's name":               {pemCSR(apitest.CSR(t, s.Identity("victim"))), ca.ReasonCSRIdentity},
		"no name":                      {pemCSR(apitest.CSR(t, "")), ""},
		"an organisation that is none": {pemCSR(catest.RawCSR{Subject: catest.Subject([]int{2, 5, 4, 10}, 19, ""), Extensions: [][]byte{catest.SAN(catest.Name(6, s.Identity("a")))}}.Encode(t, catest.GenerateKey(t, fips.ECDSAP256))), ""},
	}
	client := newClient(t, s)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := request(t, s)
			r.Csr = row.csr
			answer, err := client.CreateCertificate(s.As(t, "a"), r)
			if row.reason != "" {
				apitest.RequireRefused(t, row.reason, err)
				return
			}
			require.NoError(t, err)
			leaf := decode(t, answer.GetCertChain()[0], 1)[0]
			apitest.RequireLeaf(t, s.Identity("a"), leaf, [][]byte{decode(t, answer.GetCertChain()[1], 1)[0]}, s.CA.Bundle)
		})
	}
}

// TestRenewalByCertificate: without a token file pilot-agent falls back to its
// certificate (PROV_CERT).
func TestRenewalByCertificate(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := securityapi.NewIstioCertificateServiceClient(s.Dial(t, s.Certificate(t, "a")))
	answer, err := client.CreateCertificate(t.Context(), request(t, s))
	require.NoError(t, err)
	apitest.RequireLeaf(t, s.Identity("a"), decode(t, answer.GetCertChain()[0], 1)[0], [][]byte{decode(t, answer.GetCertChain()[1], 1)[0]}, s.CA.Bundle)
	r := request(t, s)
	r.Csr = pemCSR(apitest.CSR(t, s.Identity("b")))
	_, err = client.CreateCertificate(t.Context(), r)
	apitest.RequireRefused(t, ca.ReasonCSRIdentity, err)
	_, err = client.CreateCertificate(s.As(t, "b"), r)
	apitest.RequireRefused(t, ca.ReasonCredentialsDiffer, err)
}

// TestRSAKeysOfSidecars: pilot-agent makes RSA-2048 keys unless told otherwise.
func TestRSAKeysOfSidecars(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	r := request(t, s)
	key := catest.GenerateKey(t, fips.RSA2048)
	r.Csr = pemCSR(catest.CSR(t, key, s.Identity("a")))
	answer, err := newClient(t, s).CreateCertificate(s.As(t, "a"), r)
	require.NoError(t, err)
	leaf := apitest.RequireLeaf(t, s.Identity("a"), decode(t, answer.GetCertChain()[0], 1)[0], [][]byte{decode(t, answer.GetCertChain()[1], 1)[0]}, s.CA.Bundle)
	require.True(t, fips.PublicKeyEqual(key.Public(), leaf.PublicKey))
}

// TestMetadataOfAnyDepth: what nobody reads may be as deep as a message can be.
func TestMetadataOfAnyDepth(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := newClient(t, s)
	for depth, ok := range map[int]bool{1: true, 1000: true, 4900: true, 5100: false, 7000: false} {
		value := structpb.NewStringValue("x")
		for range depth {
			value = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{value}})
		}
		r := request(t, s)
		r.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{"x": value}}
		_, err := client.CreateCertificate(s.As(t, "a"), r)
		require.Equal(t, ok, err == nil, "%d: %v", depth, err)
	}
	_, err := client.CreateCertificate(s.As(t, "a"), request(t, s))
	require.NoError(t, err)
}

// TestPEMIsAsOthersWriteIt: 64 columns, a line feed, no blank line.
func TestPEMIsAsOthersWriteIt(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	answer, err := newClient(t, s).CreateCertificate(s.As(t, "a"), request(t, s))
	require.NoError(t, err)
	for _, element := range answer.GetCertChain() {
		var again bytes.Buffer
		for rest := []byte(element); len(rest) > 0; {
			var block *pem.Block
			block, rest = pem.Decode(rest)
			again.Write(pem.EncodeToMemory(block))
		}
		require.Equal(t, again.String(), element)
	}
}
