package api_test

import (
	"context"
	"crypto/tls"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// TestCredentialsOnTheWire holds the headers of a call to what they may say. The
// client has no certificate.
func TestCredentialsOnTheWire(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	token := s.Token(t, "a")
	rows := map[string]struct {
		headers []string
		reason  ca.Reason // "" is issued to a
	}{
		"a token":                             {[]string{"authorization", "Bearer " + token}, ""},
		"scheme in lower case":                {[]string{"authorization", "bearer " + token}, ""},
		"scheme in upper case":                {[]string{"authorization", "BEARER " + token}, ""},
		"a cluster that is known":             {[]string{"authorization", "Bearer " + token, "clusterid", apitest.Cluster}, ""},
		"an empty cluster, which is none":     {[]string{"authorization", "Bearer " + token, "clusterid", ""}, ""},
		"forwarded identities beside a token": {[]string{"authorization", "Bearer " + token, "x-forwarded-client-cert", "URI=" + s.Identity("victim"), "x-forwarded-for", "127.0.0.1"}, ""},

		"nothing":                      {nil, ca.ReasonNoCredentials},
		"forwarded identities alone":   {[]string{"x-forwarded-client-cert", "By=x;URI=" + s.Identity("victim"), "x-forwarded-user", "victim", "forwarded", "for=127.0.0.1"}, ca.ReasonNoCredentials},
		"an empty header":              {[]string{"authorization", ""}, ca.ReasonTokenMalformed},
		"a scheme alone":               {[]string{"authorization", "Bearer"}, ca.ReasonTokenMalformed},
		"a scheme and a space":         {[]string{"authorization", "Bearer "}, ca.ReasonTokenMalformed},
		"two spaces":                   {[]string{"authorization", "Bearer  " + token}, ca.ReasonTokenMalformed},
		"no scheme":                    {[]string{"authorization", token}, ca.ReasonTokenMalformed},
		"another scheme":               {[]string{"authorization", "Basic " + token}, ca.ReasonTokenMalformed},
		"two headers, the same twice":  {[]string{"authorization", "Bearer " + token, "authorization", "Bearer " + token}, ca.ReasonTokenMalformed},
		"two headers, the first empty": {[]string{"authorization", "", "authorization", "Bearer " + token}, ca.ReasonTokenMalformed},
		"two tokens in one header":     {[]string{"authorization", "Bearer " + token + ", Bearer " + token}, ca.ReasonTokenMalformed},
		"20 KiB of token":              {[]string{"authorization", "Bearer " + strings.Repeat("x", 20<<10)}, ca.ReasonTokenTooLarge},
		"a million dots, nearly":       {[]string{"authorization", "Bearer " + strings.Repeat(".", 16<<10)}, ca.ReasonTokenMalformed},
		"a cluster that is not known":  {[]string{"authorization", "Bearer " + token, "clusterid", "other"}, ca.ReasonClusterUnknown},
		"a cluster twice":              {[]string{"authorization", "Bearer " + token, "clusterid", apitest.Cluster, "clusterid", apitest.Cluster}, ca.ReasonClusterUnknown},
	}
	client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), row.headers...)
			r, err := client.Issue(ctx, &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
			if row.reason == "" {
				require.NoError(t, err)
				require.Equal(t, s.Identity("a"), r.GetIdentity())
				return
			}
			require.Equal(t, codes.Unauthenticated, apitest.RequireRefused(t, row.reason, err).Code)
		})
	}
}

// TestATokenAndACertificateMustAgree: a token wins over a certificate of the
// same identity and may not travel beside one of another.
func TestATokenAndACertificateMustAgree(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	own := kedgev1.NewCertificateAuthorityClient(s.Dial(t, s.Certificate(t, "a")))
	request := func() *kedgev1.IssueRequest { return &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")} }

	r, err := own.Issue(s.As(t, "a"), request())
	require.NoError(t, err)
	require.Equal(t, s.Identity("a"), r.GetIdentity())
	require.Equal(t, ca.MethodKubernetes, lastRecord(s).Evidence.Method)

	_, err = own.Issue(s.As(t, "b"), request())
	apitest.RequireRefused(t, ca.ReasonCredentialsDiffer, err)

	r, err = own.Issue(t.Context(), request())
	require.NoError(t, err)
	require.Equal(t, s.Identity("a"), r.GetIdentity())
	require.Equal(t, ca.MethodCertificate, lastRecord(s).Evidence.Method)

	_, err = own.Issue(apitest.Bearer(t, "not-a-token"), request())
	apitest.RequireRefused(t, ca.ReasonTokenMalformed, err)
}

func lastRecord(s *apitest.Server) ca.Record {
	records := s.CA.Recorder.Records()
	return records[len(records)-1]
}

// TestAnOldConnectionHasNoOldRights: what a handshake proved is judged again at
// every call.
func TestAnOldConnectionHasNoOldRights(t *testing.T) {
	rows := map[string]struct {
		happens func(s *apitest.Server)
		reason  ca.Reason
	}{
		"the certificate has expired": {func(s *apitest.Server) { s.Clock.Advance(24*time.Hour + time.Second) }, ca.ReasonCertificateExpired},
		"the anchor was removed":      {func(s *apitest.Server) { s.Rotate(t) }, ca.ReasonCertificateInvalid},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			s := apitest.New(t, apitest.Options{})
			conn := s.Dial(t, s.Certificate(t, "a"))
			client := kedgev1.NewCertificateAuthorityClient(conn)
			_, err := client.Renew(t.Context(), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
			require.NoError(t, err)
			opened := counter(t, s, "kedge_handshakes_total", "result", "ok")
			row.happens(s)
			_, err = client.Renew(t.Context(), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
			apitest.RequireRefused(t, row.reason, err)
			require.Equal(t, opened, counter(t, s, "kedge_handshakes_total", "result", "ok"), "it was the same connection")
		})
	}
}

// TestOrderOfChecks: what is cheap and what says who is calling comes before
// what is dear, and each refusal costs nothing that comes after it.
func TestOrderOfChecks(t *testing.T) {
	var asked atomic.Int32
	s := apitest.New(t, apitest.Options{
		Rate: 1e-9, Burst: 1,
		Authenticator: func(real api.Authenticator) api.Authenticator { return &spyAuthenticator{real, &asked} },
	})
	client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
	bad := &kedgev1.IssueRequest{Csr: []byte("no CSR")}

	_, err := client.Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: make([]byte, ca.MaxCSRDER+1)})
	apitest.RequireRefused(t, ca.ReasonCSRTooLarge, err)
	_, err = client.Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, ""), Profile: strings.Repeat("x", 64)})
	apitest.RequireRefused(t, ca.ReasonProfile, err)
	require.Zero(t, asked.Load(), "size alone refuses before anybody is authenticated")

	_, err = client.Issue(t.Context(), bad)
	apitest.RequireRefused(t, ca.ReasonNoCredentials, err)
	_, err = client.Issue(s.As(t, "a"), bad)
	apitest.RequireRefused(t, ca.ReasonCSREncoding, err)
	_, err = client.Issue(s.As(t, "a"), bad)
	apitest.RequireRefused(t, ca.ReasonIdentityQuota, err)
	require.EqualValues(t, 3, asked.Load())
	require.Len(t, s.CA.Recorder.Records(), 1, "the server's own")
}

type spyAuthenticator struct {
	api.Authenticator
	asked *atomic.Int32
}

func (a *spyAuthenticator) Authenticate(ctx context.Context, c authn.Credentials, bundle *ca.Bundle) (ca.Caller, error) {
	a.asked.Add(1)
	return a.Authenticator.Authenticate(ctx, c, bundle)
}

// TestTheEvidenceIsRecorded: the record says what proved the caller, and holds
// no secret.
func TestTheEvidenceIsRecorded(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	token := s.Issuer.Token(t, authntest.ServiceAccount("default", "a", s.Clock.Now()))
	_, err := issue(t, s, apitest.Bearer(t, token))
	require.NoError(t, err)
	r := lastRecord(s)
	require.Equal(t, s.Identity("a"), r.Identity)
	require.Equal(t, apitest.Cluster, r.Evidence.Cluster)
	require.Equal(t, "system:serviceaccount:default:a", r.Evidence.Subject)
	require.Regexp(t, `^127\.0\.0\.1:\d+$`, r.Evidence.Peer)
	require.Regexp(t, "^[0-9a-f]{64}$", r.Evidence.TokenHash)
}

// TestTLSOfTheFront: what is not TLS 1.2 or 1.3 with h2 does not come in.
func TestTLSOfTheFront(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	rows := map[string]struct {
		change func(*tls.Config)
		ok     bool
	}{
		"TLS 1.3":       {func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, true},
		"TLS 1.2":       {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true},
		"TLS 1.1":       {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
		"no ALPN":       {func(c *tls.Config) { c.NextProtos = nil }, false},
		"only HTTP/1.1": {func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, false},
		"CBC suite only": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			plain, err := s.Connect(t.Context())
			require.NoError(t, err)
			config := s.ClientTLS(t, nil, "h2")
			row.change(config)
			conn := tls.Client(plain, config)
			defer func() { _ = conn.Close() }()
			require.NoError(t, conn.SetDeadline(time.Now().Add(answerLimit)))
			err = conn.Handshake()
			if err == nil {
				_, err = conn.Read(make([]byte, 1)) // the server's SETTINGS, or its refusal
			}
			require.Equal(t, row.ok, err == nil, "%v", err)
		})
	}
	requireAlive(t, s)
}
