package apitest

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// ClientTLS is the configuration of a client that trusts the bundle in force and
// presents own, if that is not nil.
func (s *Server) ClientTLS(t testing.TB, own *tls.Certificate, protocols ...string) *tls.Config {
	t.Helper()
	c := fips.ClientTLSConfig{Roots: s.CA.Bundle.Pool(), ServerName: ServerName, NextProtos: protocols}
	if own != nil {
		c.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	config, err := fips.ClientTLS(c)
	require.NoError(t, err)
	return config
}

// Dial connects a gRPC client that presents own, if that is not nil.
func (s *Server) Dial(t testing.TB, own *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.Address, grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.Connect(ctx) }),
		grpc.WithTransportCredentials(credentials.NewTLS(s.ClientTLS(t, own, "h2"))))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// Token is a service account token for ns/default/sa/<name>.
func (s *Server) Token(t testing.TB, name string) string {
	t.Helper()
	return s.Issuer.Token(t, authntest.ServiceAccount("default", name, s.Clock.Now()))
}

// Identity is the SPIFFE ID of ns/default/sa/<name>.
func (s *Server) Identity(name string) string { return s.CA.Domain.URI() + "/ns/default/sa/" + name }

// As is the context of a call with a token for ns/default/sa/<name>.
func (s *Server) As(t testing.TB, name string) context.Context {
	t.Helper()
	return Bearer(t, s.Token(t, name))
}

// Bearer is the context of a call with a token.
func Bearer(t testing.TB, token string) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
}

// Certificate issues ns/default/sa/<name> a certificate by its token, over the
// wire, to be presented by Dial.
func (s *Server) Certificate(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	key := catest.GenerateKey(t, fips.ECDSAP256)
	r, err := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).Issue(s.As(t, name), &kedgev1.IssueRequest{Csr: catest.CSR(t, key, "")})
	require.NoError(t, err)
	return s.KeyPair(t, r, key)
}

// KeyPair joins an answer with its key.
func (s *Server) KeyPair(t testing.TB, r *kedgev1.IssueResponse, key crypto.Signer) *tls.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(r.GetCertificate())
	require.NoError(t, err)
	return &tls.Certificate{Certificate: append([][]byte{r.GetCertificate()}, r.GetChain()...), PrivateKey: key, Leaf: leaf}
}

// CSR is a request for a new P-256 key that names uri, or nothing if uri is "".
func CSR(t testing.TB, uri string) []byte {
	t.Helper()
	return catest.CSR(t, catest.GenerateKey(t, fips.ECDSAP256), uri)
}

// Refusal is what a client can learn from an error.
type Refusal struct {
	Code      codes.Code
	Message   string
	Reason    ca.Reason
	RequestID string
	Help      string
	Retry     *errdetails.RetryInfo
}

// RefusalOf reads a refusal off the wire.
func RefusalOf(t testing.TB, err error) Refusal {
	t.Helper()
	require.Error(t, err)
	st, ok := status.FromError(err)
	require.True(t, ok, "%v", err)
	r := Refusal{Code: st.Code(), Message: st.Message()}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			require.Equal(t, api.ErrorDomain, d.GetDomain())
			r.Reason, r.RequestID = ca.Reason(d.GetReason()), d.GetMetadata()["request_id"]
		case *errdetails.Help:
			require.Len(t, d.GetLinks(), 1)
			r.Help = d.GetLinks()[0].GetUrl()
		case *errdetails.RetryInfo:
			r.Retry = d
		default:
			require.Fail(t, "unexpected detail", "%T", d)
		}
	}
	return r
}

// RequireRefused requires that err is a refusal for reason.
func RequireRefused(t testing.TB, reason ca.Reason, err error) Refusal {
	t.Helper()
	r := RefusalOf(t, err)
	require.Equal(t, reason, r.Reason, "%v", err)
	return r
}

// RequireLeaf requires that leaf names identity and nothing else, and that it
// verifies through chain against bundle. All are DER.
func RequireLeaf(t testing.TB, identity string, leaf []byte, chain [][]byte, bundle *ca.Bundle) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(leaf)
	require.NoError(t, err)
	require.Len(t, cert.URIs, 1)
	require.Equal(t, identity, cert.URIs[0].String())
	require.Empty(t, cert.DNSNames)
	require.Empty(t, cert.IPAddresses)
	require.Empty(t, cert.EmailAddresses)
	require.Empty(t, cert.Subject.Names)
	require.False(t, cert.IsCA)
	between := x509.NewCertPool()
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		between.AddCert(c)
	}
	_, err = cert.Verify(x509.VerifyOptions{
		Roots: bundle.Pool(), Intermediates: between, CurrentTime: cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 2),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	require.NoError(t, err)
	return cert
}
