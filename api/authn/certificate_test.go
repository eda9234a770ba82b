package authn_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// mesh is an authority, and an authenticator of its certificates and of one
// cluster's tokens.
type mesh struct {
	*catest.CA
	keys  catest.Keys
	auth  *authn.Authenticator
	clock *authntest.Clock
	east  *authntest.Issuer
}

func newMesh(t testing.TB) *mesh {
	t.Helper()
	m := &mesh{clock: authntest.NewClock(catest.Start), east: authntest.NewIssuer(t, fips.ECDSAP256)}
	m.keys = catest.Keys{
		Root: catest.GenerateKey(t, fips.ECDSAP256), Standby: catest.GenerateKey(t, fips.ECDSAP256),
		Intermediate: catest.GenerateKey(t, fips.ECDSAP256),
	}
	m.CA = catest.NewFrom(t, m.keys)
	m.auth = newAuthenticator(t, authn.Config{
		TrustDomain: m.Domain, Now: m.clock.Now, Kubernetes: []authn.KubernetesConfig{m.east.Cluster(t, "east")},
	})
	return m
}

const webID = "spiffe://cluster.local/ns/default/sa/web"

// template is the certificate of a workload; tests change it.
func template(uris ...string) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(0x0abc), NotBefore: catest.Start.Add(-time.Minute), NotAfter: catest.Start.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if uris != nil {
		c.ExtraExtensions = []pkix.Extension{altName(uris...)}
	}
	return c
}

// altName writes the URIs as they are, which net/url might not.
func altName(uris ...string) pkix.Extension {
	names := make([][]byte, 0, len(uris))
	for _, u := range uris {
		names = append(names, catest.Name(6, u))
	}
	return pkix.Extension{Id: []int{2, 5, 29, 17}, Critical: true, Value: catest.Sequence(names...)}
}

// state is a connection over which the handshake verified leaf.
func (m *mesh) state(t testing.TB, leaf *x509.Certificate) *tls.ConnectionState {
	t.Helper()
	signed := sign(t, leaf, m.Intermediate.Certificate(), m.keys.Intermediate)
	chain := []*x509.Certificate{signed, m.Intermediate.Certificate(), m.Root}
	return &tls.ConnectionState{PeerCertificates: chain[:2], VerifiedChains: [][]*x509.Certificate{chain}}
}

func sign(t testing.TB, leaf, issuer *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, leaf, issuer, catest.GenerateKey(t, fips.ECDSAP256).Public(), key)
	require.NoError(t, err)
	signed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return signed
}

func (m *mesh) renew(state *tls.ConnectionState) (ca.Caller, error) {
	return m.auth.AuthenticateCertificate(context.Background(), authn.Credentials{TLS: state, Peer: "192.0.2.7:443"}, m.Bundle)
}

func TestCertificateIsItsIdentity(t *testing.T) {
	m := newMesh(t)
	issued, err := m.Authority.Issue(t.Context(), m.Caller(t, "web"), m.Request(t, catest.GenerateKey(t, fips.ECDSAP256), ""))
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(issued.Leaf)
	require.NoError(t, err)
	chain := []*x509.Certificate{leaf, m.Intermediate.Certificate(), m.Root}
	state := &tls.ConnectionState{PeerCertificates: chain[:2], VerifiedChains: [][]*x509.Certificate{chain}}

	identity, err := ca.ParseIdentity(webID)
	require.NoError(t, err)
	want, err := ca.NewCaller(identity, ca.Evidence{
		Method: ca.MethodCertificate, Issuer: ca.AnchorIDOf(m.Root).String(), Subject: issued.Serial, Peer: "192.0.2.7:443",
	})
	require.NoError(t, err)
	got, err := m.renew(state)
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = m.auth.Authenticate(t.Context(), authn.Credentials{TLS: state, Peer: "192.0.2.7:443"}, m.Bundle)
	require.NoError(t, err, "a certificate stands in for a token that is not there")
	require.Equal(t, want, got)
}

func TestCertificateRefusals(t *testing.T) {
	m := newMesh(t)
	change := func(f func(c *x509.Certificate)) *x509.Certificate {
		c := template(webID)
		f(c)
		return c
	}
	for _, row := range []struct {
		name   string
		leaf   *x509.Certificate
		reason ca.Reason
	}{
		{"own identity and another's", template(webID, "spiffe://cluster.local/ns/default/sa/admin"), ca.ReasonCertificateNames},
		{"own identity twice", template(webID, webID), ca.ReasonCertificateNames},
		{"own identity and another URI", template(webID, "https://example.org"), ca.ReasonCertificateNames},
		{"no names", template(), ca.ReasonCertificateNames},
		{"no URI", change(func(c *x509.Certificate) { c.ExtraExtensions, c.DNSNames = nil, []string{"web"} }), ca.ReasonCertificateNames},
		{"identity as an e-mail address", change(func(c *x509.Certificate) {
			c.ExtraExtensions, c.EmailAddresses = nil, []string{webID}
		}), ca.ReasonCertificateNames},
		{"identity as a common name", change(func(c *x509.Certificate) {
			c.ExtraExtensions, c.Subject = nil, pkix.Name{CommonName: webID}
		}), ca.ReasonCertificateNames},
		{"another trust domain", template("spiffe://other.example/ns/default/sa/web"), ca.ReasonCertificateNames},
		{"the trust domain itself", template("spiffe://cluster.local"), ca.ReasonCertificateNames},
		{"scheme in another case", template("SPIFFE://cluster.local/ns/default/sa/web"), ca.ReasonCertificateNames},
		{"trust domain in another case", template("spiffe://Cluster.local/ns/default/sa/web"), ca.ReasonCertificateNames},
		{"a query", template(webID + "?a=b"), ca.ReasonCertificateNames},
		{"an escape", template("spiffe://cluster.local/ns/default/sa/%77eb"), ca.ReasonCertificateNames},
		{"a CA", change(func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
			c.KeyUsage |= x509.KeyUsageCertSign
		}), ca.ReasonCertificateInvalid},
		{"for servers only", change(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), ca.ReasonCertificateInvalid},
		{"for anything", change(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), ca.ReasonCertificateInvalid},
		{"for nothing named", change(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), ca.ReasonCertificateInvalid},
		{"expired by a second", change(func(c *x509.Certificate) { c.NotAfter = catest.Start.Add(-time.Second) }), ca.ReasonCertificateExpired},
		{"valid in a second", change(func(c *x509.Certificate) { c.NotBefore = catest.Start.Add(time.Second) }), ca.ReasonCertificateInvalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			caller, err := m.renew(m.state(t, row.leaf))
			refused(t, row.reason, caller, err)
		})
	}
}

func TestDNSNamesBesideTheIdentityChangeNothing(t *testing.T) {
	m := newMesh(t)
	leaf := template()
	u, err := url.Parse(webID)
	require.NoError(t, err)
	leaf.URIs, leaf.DNSNames = []*url.URL{u}, []string{"admin.default.serviceaccount.identity.linkerd.cluster.local"}
	caller, err := m.renew(m.state(t, leaf))
	require.NoError(t, err)
	require.Equal(t, webID, caller.Identity().String())
}

func TestConnectionIsRefusedWithoutAVerifiedChain(t *testing.T) {
	m := newMesh(t)
	good := m.state(t, template(webID))
	for _, row := range []struct {
		name   string
		state  *tls.ConnectionState
		reason ca.Reason
	}{
		{"no TLS", nil, ca.ReasonNoCredentials},
		{"no certificate", &tls.ConnectionState{}, ca.ReasonNoCredentials},
		{"not verified", &tls.ConnectionState{PeerCertificates: good.PeerCertificates}, ca.ReasonCertificateInvalid},
		{"an empty chain", &tls.ConnectionState{PeerCertificates: good.PeerCertificates, VerifiedChains: [][]*x509.Certificate{{}}}, ca.ReasonCertificateInvalid},
		{"a chain of the leaf alone", &tls.ConnectionState{
			PeerCertificates: good.PeerCertificates, VerifiedChains: [][]*x509.Certificate{good.PeerCertificates[:1]},
		}, ca.ReasonCertificateInvalid},
		{"the anchor itself", &tls.ConnectionState{
			PeerCertificates: []*x509.Certificate{m.Root}, VerifiedChains: [][]*x509.Certificate{{m.Root}},
		}, ca.ReasonCertificateInvalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			caller, err := m.renew(row.state)
			refused(t, row.reason, caller, err)
		})
	}
	caller, err := m.auth.AuthenticateCertificate(t.Context(), authn.Credentials{TLS: good}, nil)
	refused(t, ca.ReasonNotReady, caller, err)
}

// TestRightsEndWhileTheConnectionLives goes through a real handshake, after
// which the connection stays as it is and time and bundle do not.
func TestRightsEndWhileTheConnectionLives(t *testing.T) {
	m := newMesh(t)
	state := m.handshake(t)
	_, err := m.renew(state)
	require.NoError(t, err)

	without, err := ca.NewBundle(m.Domain, 2, []ca.Anchor{{Certificate: m.Standby, Slot: ca.SlotActive}})
	require.NoError(t, err)
	caller, err := m.auth.AuthenticateCertificate(t.Context(), authn.Credentials{TLS: state}, without)
	refused(t, ca.ReasonCertificateInvalid, caller, err)

	m.clock.Advance(time.Hour)
	_, err = m.renew(state)
	require.NoError(t, err, "NotAfter belongs to the life of a certificate (RFC 5280 §4.1.2.5)")
	m.clock.Advance(time.Second)
	caller, err = m.renew(state)
	refused(t, ca.ReasonCertificateExpired, caller, err)
}

// handshake is the server's view of a connection with a client certificate.
func (m *mesh) handshake(t *testing.T) *tls.ConnectionState {
	t.Helper()
	leafKey := catest.GenerateKey(t, fips.ECDSAP256)
	leaf := template(webID)
	leaf.DNSNames, leaf.NotBefore = []string{"localhost"}, catest.Start.Add(-time.Minute)
	leaf.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 17}, Value: catest.Sequence(catest.Name(6, webID), catest.Name(2, "localhost"))}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, m.Intermediate.Certificate(), leafKey.Public(), m.keys.Intermediate)
	require.NoError(t, err)
	pair := &tls.Certificate{Certificate: [][]byte{der, m.Intermediate.Certificate().Raw}, PrivateKey: leafKey}
	serverTLS, err := fips.ServerTLS(fips.ServerTLSConfig{
		Certificate: func() (*tls.Certificate, error) { return pair, nil },
		ClientCAs:   m.Bundle.Pool, ClientAuth: fips.VerifyIfGiven,
	})
	require.NoError(t, err)
	clientTLS, err := fips.ClientTLS(fips.ClientTLSConfig{
		Roots: m.Bundle.Pool(), ServerName: "localhost",
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil },
	})
	require.NoError(t, err)
	// The handshake itself happens when the certificates are young.
	inner := serverTLS.GetConfigForClient
	serverTLS.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := inner(h)
		if err == nil {
			c = c.Clone()
			c.Time = m.clock.Now
		}
		return c, err
	}
	clientTLS.Time = m.clock.Now

	left, right := net.Pipe()
	client, server := tls.Client(left, clientTLS), tls.Server(right, serverTLS)
	done := make(chan error, 1)
	go func() { done <- client.HandshakeContext(t.Context()) }()
	require.NoError(t, server.HandshakeContext(t.Context()))
	require.NoError(t, <-done)
	state := server.ConnectionState()
	require.NoError(t, left.Close())
	require.NoError(t, right.Close())
	return &state
}

func TestEveryCertificateOfTheChainMustBeValid(t *testing.T) {
	m := newMesh(t)
	leaf := template(webID)
	leaf.NotAfter = catest.Start.Add(30 * 24 * time.Hour)
	state := m.state(t, leaf)
	m.clock.Advance(m.Intermediate.Certificate().NotAfter.Sub(catest.Start))
	_, err := m.renew(state)
	require.NoError(t, err)
	m.clock.Advance(time.Second)
	caller, err := m.renew(state)
	refused(t, ca.ReasonCertificateExpired, caller, err)
}

// TestOneGoodChainIsEnough is a rotation: the handshake found a path to an
// anchor that has gone since and one to an anchor that is still there.
func TestOneGoodChainIsEnough(t *testing.T) {
	m := newMesh(t)
	state := m.state(t, template(webID))
	gone := catest.RootCertificate(t, m.CA, catest.GenerateKey(t, fips.ECDSAP256))
	chain := state.VerifiedChains[0]
	state.VerifiedChains = [][]*x509.Certificate{{chain[0], chain[1], gone}, chain}
	caller, err := m.renew(state)
	require.NoError(t, err)
	require.Equal(t, ca.AnchorIDOf(m.Root).String(), caller.Evidence().Issuer)

	state.VerifiedChains = state.VerifiedChains[:1]
	caller, err = m.renew(state)
	refused(t, ca.ReasonCertificateInvalid, caller, err)
}

func TestTokenAndCertificateMustAgree(t *testing.T) {
	m := newMesh(t)
	token := m.east.Token(t, authntest.ServiceAccount("default", "web", catest.Start))
	other := m.east.Token(t, authntest.ServiceAccount("default", "admin", catest.Start))
	expired := template(webID)
	expired.NotAfter = catest.Start.Add(-time.Second)
	both := func(token string, leaf *x509.Certificate) (ca.Caller, error) {
		return m.auth.Authenticate(t.Context(), authn.Credentials{Token: token, TLS: m.state(t, leaf)}, m.Bundle)
	}

	caller, err := both(token, template(webID))
	require.NoError(t, err)
	require.Equal(t, ca.MethodKubernetes, caller.Evidence().Method, "the token wins")

	caller, err = both(token, expired)
	require.NoError(t, err, "an expired certificate must not stop its owner from getting a new one")
	require.Equal(t, ca.MethodKubernetes, caller.Evidence().Method)

	caller, err = both(other, template(webID))
	refused(t, ca.ReasonCredentialsDiffer, caller, err)
	caller, err = both(other, expired)
	refused(t, ca.ReasonCredentialsDiffer, caller, err)
	caller, err = both(token, template(webID, webID+"2"))
	refused(t, ca.ReasonCertificateNames, caller, err)
	caller, err = both("token", template(webID))
	refused(t, ca.ReasonTokenMalformed, caller, err)

	caller, err = m.auth.AuthenticateCertificate(t.Context(), authn.Credentials{Token: other, TLS: m.state(t, template(webID))}, m.Bundle)
	require.NoError(t, err, "renewal looks at the certificate alone")
	require.Equal(t, webID, caller.Identity().String())
}

// TestForwardedIdentityCannotBeHandedOver keeps XFCC and its like out by type:
// nothing but these four of a request, and the door by which it came, can reach the
// authenticator, and the peer's address opens nothing (CVE-2022-39388).
func TestForwardedIdentityCannotBeHandedOver(t *testing.T) {
	var fields []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[authn.Credentials]()) {
		fields = append(fields, f.Name)
	}
	require.Equal(t, []string{"Token", "ClusterID", "Peer", "TLS", "Door"}, fields)

	m := newMesh(t)
	for _, peer := range []string{"127.0.0.1:1", "[::1]:1", "@", "/run/kedge.sock", `By=spiffe://cluster.local/ns/a/sa/b;URI=` + webID} {
		caller, err := m.auth.Authenticate(t.Context(), authn.Credentials{Peer: peer}, m.Bundle)
		refused(t, ca.ReasonNoCredentials, caller, err)
		caller, err = m.auth.AuthenticateCertificate(t.Context(), authn.Credentials{Peer: peer}, m.Bundle)
		refused(t, ca.ReasonNoCredentials, caller, err)
	}
}

func TestCertificateSerialIsRecordedAsTheStoreWritesIt(t *testing.T) {
	m := newMesh(t)
	caller, err := m.renew(m.state(t, template(webID)))
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString([]byte{0x0a, 0xbc}), caller.Evidence().Subject)
}
