package linkerd_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"strings"
	"testing"
	"time"

	identityapi "github.com/linkerd/linkerd2-proxy-api/go/identity"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/api/linkerd"
	"github.com/kedge-ca/kedge/api/linkerd/proxy"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// TestAProxyGetsACertificateThatItAccepts, over every way that it can connect.
func TestAProxyGetsACertificateThatItAccepts(t *testing.T) {
	for name, row := range map[string]struct {
		o         options
		protocols []string
	}{
		"TLS 1.3 without ALPN": {options{}, nil},
		"TLS 1.3 with ALPN":    {options{}, []string{"h2"}},
		"plaintext, loopback":  {options{plaintext: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, row.o)
			issuer, own := w.issuer(), w.identity(t, "web")
			issuer.Plaintext, issuer.Protocols = row.o.plaintext, row.protocols
			got, err := issuer.Certify(t.Context(), own, w.token(t, "web"), w.Clock.Now())
			require.NoError(t, err)
			require.Equal(t, []string{own.Name}, got.Leaf.DNSNames)
			require.Len(t, got.Leaf.URIs, 1)
			require.Equal(t, w.Identity("web"), got.Leaf.URIs[0].String())
			require.Len(t, got.Chain, 1)
			require.Equal(t, w.CA.Intermediate.Certificate().Raw, got.Chain[0].Raw)
			require.Equal(t, got.Leaf.NotAfter, got.ValidUntil)
			require.InDelta(t, (24 * time.Hour * 7 / 10).Seconds(), got.RefreshIn.Seconds(), 1)
			require.Equal(t, map[string]float64{"kubernetes linkerd linkerd": 1}, w.counter(t, "kedge_issued_total"))
		})
	}
}

// TestTheSameKeyAndCSRAreCertifiedAtEveryRenewal: a pod makes both once and keeps
// them for its life. Each certificate has a random serial all the same.
func TestTheSameKeyAndCSRAreCertifiedAtEveryRenewal(t *testing.T) {
	w := newWorld(t, options{})
	own, serials := w.identity(t, "web"), make(map[string]bool)
	for range 5 {
		serials[w.certify(t, own, "web").Leaf.SerialNumber.String()] = true
		w.Clock.Advance(time.Minute)
	}
	require.Len(t, serials, 5)
	// Another workload cannot take the key over while a certificate lives.
	stolen, err := proxy.NewIdentity(w.name("db"))
	require.NoError(t, err)
	stolen.Key = own.Key
	stolen.CSR = csr(t, own, w.name("db"))
	_, err = w.issuer().Certify(t.Context(), stolen, w.token(t, "db"), w.Clock.Now())
	apitest.RequireRefused(t, ca.ReasonKeyReused, err)
}

// csr is the CSR of a proxy for a name, with the key of own.
func csr(t *testing.T, own proxy.Identity, name string) []byte {
	t.Helper()
	return catest.RawCSR{
		Subject: catest.Subject([]int{2, 5, 4, 3}, 19, name), Extensions: [][]byte{catest.SAN(catest.Name(2, name))},
	}.Encode(t, own.Key)
}

// TestANameLongerThanACommonNameMayBe: the CSR has it as common name, above the 64
// bytes of X.520, and the certificate has none.
func TestANameLongerThanACommonNameMayBe(t *testing.T) {
	w := newWorld(t, options{})
	account := strings.Repeat("a", 63)
	own := w.identity(t, account)
	require.Greater(t, len(own.Name), 64)
	got := w.certify(t, own, account)
	require.Empty(t, got.Leaf.Subject.Names)
	require.Equal(t, []string{own.Name}, got.Leaf.DNSNames)
}

// TestANewIssuerNeedsNoRestart: the next certificate is under the intermediate and
// the anchor that are in force, on the same connection and without another word.
func TestANewIssuerNeedsNoRestart(t *testing.T) {
	w := newWorld(t, options{})
	own := w.identity(t, "web")
	before := w.certify(t, own, "web")
	next := w.CA.NewIntermediate(t, catest.GenerateKey(t, fips.ECDSAP256))
	_, err := w.CA.Authority.Swap(next, w.CA.Bundle)
	require.NoError(t, err)
	after := w.certify(t, own, "web")
	require.NotEqual(t, before.Chain[0].Raw, after.Chain[0].Raw)
	require.Equal(t, next.Certificate().Raw, after.Chain[0].Raw)
	// A pod that knows the old anchors alone must not be given what it cannot verify
	// without being told: its own rules say so.
	old := w.CA.Root
	w.Rotate(t)
	issuer := w.issuer()
	issuer.Anchors = pool(old, w.CA.Root)
	_, err = issuer.Certify(t.Context(), own, w.token(t, "web"), w.Clock.Now())
	require.NoError(t, err)
	issuer.Anchors = pool(old)
	_, err = issuer.Certify(t.Context(), own, w.token(t, "web"), w.Clock.Now())
	require.ErrorContains(t, err, "rule chain-to-anchors")
}

// TestEveryRefusalHasItsCode: the codes are those of Linkerd's own issuer where it
// has one for the fault.
func TestEveryRefusalHasItsCode(t *testing.T) {
	w := newWorld(t, options{})
	own := w.identity(t, "web")
	p384, rsa2048 := proxy.Identity{Name: own.Name, Key: catest.GenerateKey(t, fips.ECDSAP384)}, proxy.Identity{Name: own.Name, Key: catest.GenerateKey(t, fips.RSA2048)}
	token := string(w.token(t, "web"))
	claims := w.claims("default", "web")
	sign := func(c authntest.Claims) string { return w.Issuer.Token(t, c) }
	san := func(names ...[]byte) []byte {
		return catest.RawCSR{Extensions: [][]byte{catest.SAN(names...)}}.Encode(t, own.Key)
	}
	dns := func(name string) []byte { return catest.Name(2, name) }
	named := func(name string) *identityapi.CertifyRequest {
		return &identityapi.CertifyRequest{Identity: name, CertificateSigningRequest: csr(t, own, name)}
	}
	withCSR := func(der []byte) *identityapi.CertifyRequest {
		return &identityapi.CertifyRequest{Identity: own.Name, CertificateSigningRequest: der}
	}
	withToken := func(s string) *identityapi.CertifyRequest {
		return &identityapi.CertifyRequest{Identity: own.Name, CertificateSigningRequest: own.CSR, Token: []byte(s)}
	}
	rows := []struct {
		name   string
		r      *identityapi.CertifyRequest // an empty token is the good one
		code   codes.Code
		reason ca.Reason
	}{
		{"no identity", &identityapi.CertifyRequest{CertificateSigningRequest: own.CSR}, codes.InvalidArgument, ca.ReasonRequest},
		{"no CSR", withCSR(nil), codes.InvalidArgument, ca.ReasonRequest},
		{"an identity of 254 bytes", named(strings.Repeat("a.", 126) + "aa"), codes.InvalidArgument, ca.ReasonRequest},

		{"the CSR as PEM, as the comment in the protocol says", withCSR([]byte("-----BEGIN CERTIFICATE REQUEST-----\n" + base64.StdEncoding.EncodeToString(own.CSR))), codes.InvalidArgument, ca.ReasonCSREncoding},
		{"a CSR of 5 KiB", withCSR(bytes.Repeat([]byte{0x30}, 5<<10)), codes.InvalidArgument, ca.ReasonCSRTooLarge},
		{"bytes after the CSR", withCSR(append(bytes.Clone(own.CSR), 0)), codes.InvalidArgument, ca.ReasonCSREncoding},
		{"no proof of possession", withCSR(catest.RawCSR{Extensions: [][]byte{catest.SAN(dns(own.Name))}, BadSig: true}.Encode(t, own.Key)), codes.InvalidArgument, ca.ReasonCSRSignature},
		{"a P-384 key", withCSR(csr(t, p384, own.Name)), codes.InvalidArgument, ca.ReasonKeyUnsupported},
		{"an RSA key", withCSR(csr(t, rsa2048, own.Name)), codes.InvalidArgument, ca.ReasonKeyUnsupported},

		{"a CSR without names", withCSR(catest.RawCSR{}.Encode(t, own.Key)), codes.FailedPrecondition, ca.ReasonCSRNames},
		{"a CSR for another", withCSR(csr(t, own, w.name("db"))), codes.FailedPrecondition, ca.ReasonCSRSubject},
		{"another DNS name", withCSR(san(dns(w.name("db")))), codes.FailedPrecondition, ca.ReasonCSRNames},
		{"two DNS names", withCSR(san(dns(own.Name), dns(w.name("db")))), codes.FailedPrecondition, ca.ReasonCSRNames},
		{"a URI", withCSR(san(catest.Name(6, w.Identity("web")))), codes.FailedPrecondition, ca.ReasonCSRNames},
		{"an address", withCSR(san(dns(own.Name), catest.Name(7, "\x7f\x00\x00\x01"))), codes.FailedPrecondition, ca.ReasonCSRNames},
		{"an e-mail name", withCSR(san(dns(own.Name), catest.Name(1, "a@b"))), codes.FailedPrecondition, ca.ReasonCSRNames},
		{"another common name", withCSR(catest.RawCSR{Subject: catest.Subject([]int{2, 5, 4, 3}, 19, w.name("db")), Extensions: [][]byte{catest.SAN(dns(own.Name))}}.Encode(t, own.Key)), codes.FailedPrecondition, ca.ReasonCSRSubject},

		{"another workload's identity", named(w.name("db")), codes.FailedPrecondition, ca.ReasonCSRIdentity},
		{"another namespace's", named("web.other." + w.mesh.AccountDomain()), codes.FailedPrecondition, ca.ReasonCSRIdentity},
		{"another control plane's", named("web.default.serviceaccount.identity.other.cluster.local"), codes.FailedPrecondition, ca.ReasonCSRIdentity},
		{"the issuer's own", named(w.mesh.ServerName()), codes.FailedPrecondition, ca.ReasonCSRIdentity},
		{"in capitals", named(strings.ToUpper(own.Name)), codes.FailedPrecondition, ca.ReasonCSRIdentity},
		{"the SPIFFE ID", named(w.Identity("web")), codes.FailedPrecondition, ca.ReasonCSRIdentity},

		{"a token that is none", withToken("x"), codes.InvalidArgument, ca.ReasonTokenMalformed},
		{"a token with its scheme", withToken("Bearer " + token), codes.InvalidArgument, ca.ReasonTokenMalformed},
		{"a token that is no UTF-8", withToken("\xff.\xfe.\xfd"), codes.InvalidArgument, ca.ReasonTokenMalformed},
		{"a join token", withToken("kjt_" + strings.Repeat("a", 43)), codes.InvalidArgument, ca.ReasonTokenMalformed},
		{"a token of 20 KiB", withToken(strings.Repeat("a", 20<<10)), codes.InvalidArgument, ca.ReasonTokenTooLarge},
		{"a token that expired", withToken(sign(claims.With("iat", w.Clock.Now().Add(-2*time.Hour).Unix()).With("nbf", nil).With("exp", w.Clock.Now().Add(-time.Hour).Unix()))), codes.InvalidArgument, ca.ReasonTokenExpired},
		{"a token for Istio", withToken(w.Token(t, "web")), codes.InvalidArgument, ca.ReasonTokenAudience},
		{"a token for the API server", withToken(sign(claims.With("aud", []string{authntest.URL}))), codes.InvalidArgument, ca.ReasonTokenAudience},
		{"a token of another issuer", withToken(sign(claims.With("iss", "https://other.invalid"))), codes.FailedPrecondition, ca.ReasonTokenIssuer},
		{"a token of a node", withToken(sign(claims.With("sub", "system:node:x"))), codes.InvalidArgument, ca.ReasonTokenSubject},
		{"a token with another signature", withToken(token[:len(token)-8] + "AAAAAAAA"), codes.InvalidArgument, ca.ReasonTokenSignature},
		{"a token of a denied namespace", &identityapi.CertifyRequest{
			Identity: "web.guest." + w.mesh.AccountDomain(), CertificateSigningRequest: csr(t, own, "web.guest."+w.mesh.AccountDomain()), Token: []byte(sign(w.claims("guest", "web"))),
		}, codes.FailedPrecondition, ca.ReasonPolicy},
		{"an account with a dot", &identityapi.CertifyRequest{
			Identity: w.name("a.b"), CertificateSigningRequest: csr(t, own, w.name("a.b")), Token: w.token(t, "a.b"),
		}, codes.FailedPrecondition, ca.ReasonCSRIdentity},
	}
	client := w.client(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.r.Token == nil {
				row.r.Token = []byte(token)
			}
			before := len(w.CA.Recorder.Records())
			_, err := client.Certify(t.Context(), row.r)
			require.Equal(t, row.code, apitest.RequireRefused(t, row.reason, err).Code)
			require.Len(t, w.CA.Recorder.Records(), before)
		})
	}
	_, err := client.Certify(t.Context(), &identityapi.CertifyRequest{Identity: own.Name, CertificateSigningRequest: own.CSR})
	require.Equal(t, codes.InvalidArgument, apitest.RequireRefused(t, ca.ReasonNoCredentials, err).Code, "no token")
	refused := w.counter(t, "kedge_refused_total")
	require.InDelta(t, 7, refused["linkerd csr_identity"], 0)
	for labels := range refused {
		require.True(t, strings.HasPrefix(labels, "linkerd "), labels)
	}
}

// client is a plain client of the protocol over the proxy's kind of connection.
func (w *world) client(t *testing.T) identityapi.IdentityClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+w.address, grpc.WithNoProxy(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dialer(w.issuer())))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return identityapi.NewIdentityClient(conn)
}

// TestHeadersDoNotNameACaller: whoever adds a header, such as a proxy in between,
// must not change who is calling.
func TestHeadersDoNotNameACaller(t *testing.T) {
	w := newWorld(t, options{})
	own := w.identity(t, "web")
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+string(w.token(t, "db")), "authorization", "x", "clusterid", "other")
	r := &identityapi.CertifyRequest{Identity: own.Name, CertificateSigningRequest: own.CSR, Token: w.token(t, "web")}
	_, err := w.client(t).Certify(ctx, r)
	require.NoError(t, err)
	r.Token = nil
	_, err = w.client(t).Certify(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+string(w.token(t, "web"))), r)
	apitest.RequireRefused(t, ca.ReasonNoCredentials, err)
}

// TestTheAudienceOfTheAPIServerIsTakenWhereItIsAskedFor: Linkerd's own issuer falls
// back to it, for proxies with the pod's default token.
func TestTheAudienceOfTheAPIServerIsTakenWhereItIsAskedFor(t *testing.T) {
	w := newWorld(t, options{ownAudience: true})
	own := w.identity(t, "web")
	for audience, reason := range map[string]ca.Reason{
		linkerd.Audience: "", authntest.URL: "", authntest.Audience: ca.ReasonTokenAudience, "": ca.ReasonTokenAudience, authntest.URL + "/": ca.ReasonTokenAudience,
	} {
		token := w.Issuer.Token(t, w.claims("default", "web").With("aud", []string{audience}))
		_, err := w.issuer().Certify(t.Context(), own, []byte(token), w.Clock.Now())
		if reason == "" {
			require.NoError(t, err, audience)
			continue
		}
		apitest.RequireRefused(t, reason, err)
	}
}

// TestOneDoorDoesNotOpenAnother: a token for Linkerd's door is worth nothing at the
// others, which have the audiences of the issuer.
func TestOneDoorDoesNotOpenAnother(t *testing.T) {
	w := newWorld(t, options{})
	_, err := w.Server.Front.Issue(context.Background(), orderBy(w.token(t, "web")))
	require.Equal(t, ca.ReasonTokenAudience, ca.ReasonOf(err), "%v", err)
}

// TestAServerThatAProxyCannotUse is found by its rules, not by an outage.
func TestAServerThatAProxyCannotUse(t *testing.T) {
	w := newWorld(t, options{serverKey: fips.RSA2048})
	_, err := w.issuer().Connect(t.Context())
	require.ErrorContains(t, err, "RSA-PSS")

	w = newWorld(t, options{})
	issuer := w.issuer()
	issuer.Name = "linkerd-identity.other." + w.mesh.AccountDomain()
	_, err = issuer.Connect(t.Context())
	require.ErrorContains(t, err, "not "+issuer.Name)
}

// TestOnlyHTTP2IsServed: without ALPN too.
func TestOnlyHTTP2IsServed(t *testing.T) {
	w := newWorld(t, options{})
	issuer := w.issuer()
	issuer.Protocols = []string{"spdy/3.1"}
	_, err := issuer.Connect(t.Context())
	require.ErrorContains(t, err, "no application protocol")
	for _, protocols := range [][]string{nil, {"http/1.1"}} {
		issuer.Protocols = protocols
		conn, err := issuer.Connect(t.Context())
		require.NoError(t, err)
		_, err = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		answer, _ := io.ReadAll(conn)
		require.NotContains(t, string(answer), "HTTP/1", "%q", protocols)
		require.NoError(t, conn.Close())
	}
}

func TestAMeshIsChecked(t *testing.T) {
	m, err := linkerd.NewMesh("linkerd", "cluster.local")
	require.NoError(t, err)
	require.Equal(t, "serviceaccount.identity.linkerd.cluster.local", m.AccountDomain())
	require.Equal(t, "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local", m.ServerName())
	for _, row := range [][2]string{
		{"", "cluster.local"}, {"linkerd.x", "cluster.local"}, {"Linkerd", "cluster.local"}, {"-x", "cluster.local"},
		{"linkerd", ""}, {"linkerd", "Cluster.local"}, {"linkerd", "cluster.local."}, {"linkerd", "cluster..local"}, {"linkerd", "clus_ter.local"},
	} {
		_, err := linkerd.NewMesh(row[0], row[1])
		require.Error(t, err, "%q", row)
	}
}
