package client_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/client"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

func newClient(t *testing.T, s *apitest.Server, change func(*client.Config)) *client.Client {
	t.Helper()
	c := client.Config{Server: s.Address, Bundle: s.CA.Bundle.PEM(), Token: s.Token(t, "a")}
	if change != nil {
		change(&c)
	}
	made, err := client.New(c)
	require.NoError(t, err)
	return made
}

func lastRecord(s *apitest.Server) ca.Record {
	records := s.CA.Recorder.Records()
	return records[len(records)-1]
}

func TestIssueThenRenew(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	c := newClient(t, s, func(c *client.Config) { c.TTL = time.Hour })
	first, err := c.Issue(t.Context())
	require.NoError(t, err)
	require.Equal(t, s.Identity("a"), first.Identity)
	require.Equal(t, lastRecord(s).Serial, first.Serial)
	require.Equal(t, lastRecord(s).NotAfter, first.Chain[0].NotAfter)
	require.Equal(t, string(s.CA.Bundle.PEM()), string(first.BundlePEM()))
	require.True(t, fips.PublicKeyEqual(first.Key.Public(), first.Chain[0].PublicKey))

	second, err := c.Renew(t.Context(), first.TLS())
	require.NoError(t, err)
	require.Equal(t, s.Identity("a"), second.Identity)
	require.Equal(t, ca.MethodCertificate, lastRecord(s).Evidence.Method)
	require.False(t, fips.PublicKeyEqual(first.Key.Public(), second.Key.Public()), "a renewal has a new key")
}

// TestWhatItWritesOthersRead: key and chain as crypto/tls reads them, the chain
// without anchors.
func TestWhatItWritesOthersRead(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	for _, kind := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA2048} {
		c, err := newClient(t, s, func(c *client.Config) { c.KeyType = kind }).Issue(t.Context())
		require.NoError(t, err)
		key, err := c.KeyPEM()
		require.NoError(t, err)
		pair, err := tls.X509KeyPair(c.ChainPEM(), key)
		require.NoError(t, err, kind)
		require.Len(t, pair.Certificate, 2)
	}
}

func TestATokenFileIsReadAtEachCall(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	path := filepath.Join(t.TempDir(), "token")
	c := newClient(t, s, func(c *client.Config) { c.TokenFile = path })
	_, err := c.Issue(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, name := range []string{"a", "b"} {
		require.NoError(t, os.WriteFile(path, []byte(s.Token(t, name)+"\n"), 0o600))
		got, err := c.Issue(t.Context())
		require.NoError(t, err)
		require.Equal(t, s.Identity(name), got.Identity)
	}
}

func TestRefusalsComeThroughWithTheirDetails(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	_, err := newClient(t, s, func(c *client.Config) { c.Token = "" }).Issue(t.Context())
	apitest.RequireRefused(t, ca.ReasonNoCredentials, err)
	_, err = newClient(t, s, func(c *client.Config) { c.Profile = "nobody" }).Issue(t.Context())
	apitest.RequireRefused(t, ca.ReasonProfile, err)
	_, err = newClient(t, s, func(c *client.Config) { c.TTL = time.Second }).Issue(t.Context())
	apitest.RequireRefused(t, ca.ReasonTTL, err)
}

// TestNoTokenReachesAServerThatIsNotOurs.
func TestNoTokenReachesAServerThatIsNotOurs(t *testing.T) {
	s, other := apitest.New(t, apitest.Options{}), apitest.New(t, apitest.Options{})
	rows := map[string]func(*client.Config){
		"another CA":   func(c *client.Config) { c.Bundle = other.CA.Bundle.PEM() },
		"another name": func(c *client.Config) { c.ServerName = "kedge.example.org" },
	}
	for name, change := range rows {
		_, err := newClient(t, s, change).Issue(t.Context())
		require.Equal(t, codes.Unavailable, status.Code(err), name)
		require.Len(t, s.CA.Recorder.Records(), 1)
		require.NotContains(t, s.Log.String(), "refused", name)
	}
}

// TestTheEnvironmentChoosesNoProxy: a library reads no environment. TestMain set
// a proxy that does not exist; it would be used for every address that is not on
// loopback, and on Linux 0.0.0.0 is another way to say this machine.
func TestTheEnvironmentChoosesNoProxy(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	_, port, err := net.SplitHostPort(s.Address)
	require.NoError(t, err)
	_, err = newClient(t, s, func(c *client.Config) {
		c.Server, c.ServerName = "0.0.0.0:"+port, apitest.ServerName
	}).Issue(t.Context())
	require.NoError(t, err)
}

func TestAnUnusableConfigurationIsRefused(t *testing.T) {
	good := client.Config{Server: "localhost:8443", Bundle: catest.New(t).Bundle.PEM()}
	_, err := client.New(good)
	require.NoError(t, err)
	rows := map[string]func(*client.Config){
		"no port":        func(c *client.Config) { c.Server = "localhost" },
		"no server":      func(c *client.Config) { c.Server = "" },
		"no bundle":      func(c *client.Config) { c.Bundle = nil },
		"an odd bundle":  func(c *client.Config) { c.Bundle = []byte("-----BEGIN CERTIFICATE-----") },
		"an unknown key": func(c *client.Config) { c.KeyType = "ed25519" },
	}
	for name, change := range rows {
		c := good
		change(&c)
		_, err := client.New(c)
		require.Error(t, err, name)
	}
}

// lyingServer answers as a good server does, then changes the answer.
type lyingServer struct {
	kedgev1.UnimplementedCertificateAuthorityServer
	s   *apitest.Server
	lie func(*kedgev1.IssueResponse)
}

func (l *lyingServer) Issue(ctx context.Context, r *kedgev1.IssueRequest) (*kedgev1.IssueResponse, error) {
	request, err := ca.ParseRequest(r.GetCsr(), ca.RequestOptions{Now: l.s.Clock.Now()}, l.s.CA.FIPS)
	if err != nil {
		return nil, err
	}
	identity, err := ca.ParseIdentity(l.s.Identity("a"))
	if err != nil {
		return nil, err
	}
	caller, err := ca.NewCaller(identity, ca.Evidence{Method: ca.MethodKubernetes})
	if err != nil {
		return nil, err
	}
	issued, err := l.s.CA.Authority.Issue(ctx, caller, request)
	if err != nil {
		return nil, err
	}
	answer := &kedgev1.IssueResponse{
		Certificate: issued.Leaf, Chain: issued.Chain, Bundle: bundleOf(issued.Bundle), Identity: issued.Identity.String(), Serial: issued.Serial,
		NotBefore: timestamppb.New(issued.NotBefore), NotAfter: timestamppb.New(issued.NotAfter), RenewAt: timestamppb.New(issued.RenewAt),
	}
	l.lie(answer)
	return answer, nil
}

func bundleOf(b *ca.Bundle) *kedgev1.Bundle {
	wire := &kedgev1.Bundle{TrustDomain: b.TrustDomain().String(), Sequence: b.Sequence()}
	for _, a := range b.Anchors() {
		wire.Anchors = append(wire.Anchors, &kedgev1.Anchor{Certificate: a.Certificate.Raw})
	}
	return wire
}

// lying serves l over TLS with a certificate of s's authority.
func lying(t *testing.T, s *apitest.Server, lie func(*kedgev1.IssueResponse)) *client.Client {
	t.Helper()
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(s.ServerTLS(t))))
	kedgev1.RegisterCertificateAuthorityServer(server, &lyingServer{s: s, lie: lie})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return newClient(t, s, func(c *client.Config) { c.Server = listener.Addr().String() })
}

// forge is the certificate of r with other names, signed by the root.
func forge(t *testing.T, s *apitest.Server, r *kedgev1.IssueResponse, names ...string) []byte {
	t.Helper()
	leaf, err := x509.ParseCertificate(r.GetCertificate())
	require.NoError(t, err)
	leaf.URIs, leaf.ExtraExtensions = nil, nil
	for _, name := range names {
		uri, err := url.Parse(name)
		require.NoError(t, err)
		leaf.URIs = append(leaf.URIs, uri)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, s.CA.Root, leaf.PublicKey, s.CA.RootKey)
	require.NoError(t, err)
	return der
}

// TestAnAnswerThatDoesNotHoldIsRefused: a server that is verified may still be
// broken, and its answer is what others will be shown.
func TestAnAnswerThatDoesNotHoldIsRefused(t *testing.T) {
	s, other := apitest.New(t, apitest.Options{}), apitest.New(t, apitest.Options{})
	rows := map[string]struct {
		lie  func(*kedgev1.IssueResponse)
		says string // "" is accepted
	}{
		"the truth":                {func(*kedgev1.IssueResponse) {}, ""},
		"a certificate of another": {func(r *kedgev1.IssueResponse) { r.Certificate = s.Certificate(t, "a").Certificate[0] }, "another key"},
		"another identity":         {func(r *kedgev1.IssueResponse) { r.Identity = s.Identity("b") }, "does not name"},
		"no identity":              {func(r *kedgev1.IssueResponse) { r.Identity = "" }, "does not name"},
		"no intermediate":          {func(r *kedgev1.IssueResponse) { r.Chain = nil }, "does not verify"},
		"another's intermediate":   {func(r *kedgev1.IssueResponse) { r.Chain = [][]byte{other.CA.Intermediate.Certificate().Raw} }, "does not verify"},
		"another's bundle":         {func(r *kedgev1.IssueResponse) { r.Bundle = bundleOf(other.CA.Bundle) }, "does not verify"},
		"no bundle":                {func(r *kedgev1.IssueResponse) { r.Bundle = nil }, "is empty"},
		"two names": {func(r *kedgev1.IssueResponse) {
			r.Certificate, r.Chain = forge(t, s, r, r.GetIdentity(), s.Identity("b")), nil
		}, "does not name"},
		"one name, by the root": {func(r *kedgev1.IssueResponse) { r.Certificate, r.Chain = forge(t, s, r, r.GetIdentity()), nil }, ""},
		"an empty certificate":  {func(r *kedgev1.IssueResponse) { r.Certificate = nil }, "reading the server's answer"},
		"a certificate in PEM": {func(r *kedgev1.IssueResponse) {
			r.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate})
		}, "reading the server's answer"},
		"a broken anchor":             {func(r *kedgev1.IssueResponse) { r.Bundle.Anchors[0].Certificate = []byte{0x30} }, "reading the server's bundle"},
		"another serial, not copied":  {func(r *kedgev1.IssueResponse) { r.Serial = "ff" }, ""},
		"another end, not looked at":  {func(r *kedgev1.IssueResponse) { r.NotAfter = nil }, ""},
		"no renewal time":             {func(r *kedgev1.IssueResponse) { r.RenewAt = nil }, ""},
		"a renewal time in the past":  {func(r *kedgev1.IssueResponse) { r.RenewAt = &timestamppb.Timestamp{} }, ""},
		"a renewal time after death":  {func(r *kedgev1.IssueResponse) { r.RenewAt = timestamppb.New(s.Clock.Now().AddDate(1, 0, 0)) }, ""},
		"a renewal time out of range": {func(r *kedgev1.IssueResponse) { r.RenewAt = &timestamppb.Timestamp{Seconds: 1 << 62} }, ""},
		"an empty answer":             {func(r *kedgev1.IssueResponse) { proto.Reset(r) }, "reading the server's answer"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			got, err := lying(t, s, row.lie).Issue(t.Context())
			if row.says != "" {
				require.ErrorContains(t, err, row.says)
				return
			}
			require.NoError(t, err)
			require.NotEqual(t, "ff", got.Serial)
			require.True(t, got.RenewAt.After(s.Clock.Now()), "never at once")
			require.True(t, got.RenewAt.Before(got.Chain[0].NotAfter))
		})
	}
}
