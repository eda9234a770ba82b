package fips

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// peer is one side's certificate for a test of the builders.
func (a *authority) peer(t testing.TB, usage x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	s := mustKey(t)
	return &tls.Certificate{Certificate: [][]byte{a.serving(t, s.Public(), usage)}, PrivateKey: s}
}

func at(c *tls.Config) *tls.Config {
	c.Time = func() time.Time { return day("2026-11-24").Add(time.Hour) }
	return c
}

func serverConfig(a *authority, cert *tls.Certificate, auth ClientAuth) ServerTLSConfig {
	c := ServerTLSConfig{Certificate: func() (*tls.Certificate, error) { return cert, nil }, ClientAuth: auth}
	if auth != NoClientCert {
		c.ClientCAs = func() *x509.CertPool { return a.pool }
	}
	return c
}

// connect runs a handshake of builder configurations at a fixed time. The
// server's snapshots are built from its template, so both get the clock.
func connect(t testing.TB, server ServerTLSConfig, client ClientTLSConfig) (tls.ConnectionState, error) {
	t.Helper()
	s, err := ServerTLS(server)
	require.NoError(t, err)
	if inner := s.GetConfigForClient; inner != nil {
		s.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := inner(h)
			if err != nil {
				return nil, err
			}
			return at(c.Clone()), nil
		}
	}
	c, err := ClientTLS(client)
	require.NoError(t, err)
	return handshake(at(s), at(c))
}

func TestHandshakesOfTheBuilders(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	cert := a.peer(t, x509.ExtKeyUsageServerAuth)
	withCert := func(c *tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
	good, foreign := withCert(a.peer(t, x509.ExtKeyUsageClientAuth)), withCert(other.peer(t, x509.ExtKeyUsageClientAuth))
	name := "ca.example"
	rows := []struct {
		name   string
		auth   ClientAuth
		client ClientTLSConfig
		want   string // part of the error, "" for success
		peers  int
	}{
		{"no client certificate asked", NoClientCert, ClientTLSConfig{Roots: a.pool, ServerName: name}, "", 0},
		{"none asked, one at hand", NoClientCert, ClientTLSConfig{Roots: a.pool, ServerName: name, Certificate: good}, "", 0},
		{"optional, none given", VerifyIfGiven, ClientTLSConfig{Roots: a.pool, ServerName: name}, "", 0},
		{"optional, given", VerifyIfGiven, ClientTLSConfig{Roots: a.pool, ServerName: name, Certificate: good}, "", 1},
		{"optional, of another CA", VerifyIfGiven, ClientTLSConfig{Roots: a.pool, ServerName: name, Certificate: foreign}, "certificate signed by unknown authority", 0},
		{"required, given", Require, ClientTLSConfig{Roots: a.pool, ServerName: name, Certificate: good}, "", 1},
		{"required, none given", Require, ClientTLSConfig{Roots: a.pool, ServerName: name}, "didn't provide a certificate", 0},
		{"required, of another CA", Require, ClientTLSConfig{Roots: a.pool, ServerName: name, Certificate: foreign}, "certificate signed by unknown authority", 0},
		{"server of another CA", NoClientCert, ClientTLSConfig{Roots: other.pool, ServerName: name}, "certificate signed by unknown authority", 0},
		{"server of another name", NoClientCert, ClientTLSConfig{Roots: a.pool, ServerName: "evil.example"}, "not evil.example", 0},
		{"no anchors at all", NoClientCert, ClientTLSConfig{Roots: x509.NewCertPool(), ServerName: name}, "unknown authority", 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			state, err := connect(t, serverConfig(a, cert, r.auth), r.client)
			if r.want != "" {
				require.ErrorContains(t, err, r.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, uint16(tls.VersionTLS13), state.Version)
			require.Equal(t, tls.CurveP256, state.CurveID)
			require.False(t, state.DidResume)
		})
	}
}

// clientOf presents a certificate for key that signer has signed.
func clientOf(t *testing.T, key, signer crypto.Signer, more ...[]byte) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "replica"},
		NotBefore: day("2020-01-01"), NotAfter: day("2020-01-02"), // of no account
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), signer)
	require.NoError(t, err)
	c := &tls.Certificate{Certificate: append([][]byte{der}, more...), PrivateKey: key}
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
}

// A replica of a zone is known by its key alone.
func TestServerThatRequiresAKeyTakesAnyThatIsProved(t *testing.T) {
	a := newAuthority(t)
	key := mustKey(t)
	server := serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), NoClientCert)
	server.ClientAuth = RequireKey
	for name, row := range map[string]struct {
		client func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
		want   string
	}{
		"signed by its own key": {clientOf(t, key, key), ""},
		"none":                  {nil, "didn't provide a certificate"},
		"signed by another key": {clientOf(t, key, mustKey(t)), "not signed by its own key"},
		"a chain":               {clientOf(t, key, key, a.serving(t, key.Public(), x509.ExtKeyUsageClientAuth)), "2 certificates"},
		"a certificate of the CA": {func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return a.peer(t, x509.ExtKeyUsageClientAuth), nil
		}, "not signed by its own key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := connect(t, server, ClientTLSConfig{Roots: a.pool, ServerName: "ca.example", Certificate: row.client})
			if row.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, row.want)
		})
	}
}

func TestClientAsksOnceMoreAboutAVerifiedServer(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	server := serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), NoClientCert)
	asked := 0
	client := ClientTLSConfig{Roots: a.pool, ServerName: "ca.example", VerifyServer: func(*x509.Certificate) error {
		if asked++; asked > 1 {
			return errors.New("it is somebody else")
		}
		return nil
	}}
	_, err := connect(t, server, client)
	require.NoError(t, err)
	_, err = connect(t, server, client)
	require.ErrorContains(t, err, "somebody else")
	client.Roots = other.pool
	_, err = connect(t, server, client)
	require.ErrorContains(t, err, "unknown authority", "a server that is not verified is not asked about")
	require.Equal(t, 2, asked)
}

func TestUnverifiedClientTalksToWhoeverAnswers(t *testing.T) {
	a := newAuthority(t)
	server := serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), NoClientCert)
	server.ClientAuth = RequireKey
	s, err := ServerTLS(server)
	require.NoError(t, err)
	key := mustKey(t)
	c := DangerouslyUnverifiedClientTLS(clientOf(t, key, key), "h2")
	_, err = handshake(at(s), c)
	require.NoError(t, err)
	require.Equal(t, tls12Suites(), c.CipherSuites)
}

func TestServerTLSRefusals(t *testing.T) {
	a := newAuthority(t)
	cert := a.peer(t, x509.ExtKeyUsageServerAuth)
	for name, edit := range map[string]func(*ServerTLSConfig){
		"no certificate":           func(c *ServerTLSConfig) { c.Certificate = nil },
		"verification, no anchors": func(c *ServerTLSConfig) { c.ClientCAs = nil },
		"anchors, no verification": func(c *ServerTLSConfig) { c.ClientAuth = NoClientCert },
		"unknown client treatment": func(c *ServerTLSConfig) { c.ClientAuth = RequireKey + 1 },
		"TLS 1.1":                  func(c *ServerTLSConfig) { c.MinVersion = tls.VersionTLS11 },
		"TLS 1.4":                  func(c *ServerTLSConfig) { c.MinVersion = tls.VersionTLS13 + 1 },
	} {
		c := serverConfig(a, cert, Require)
		edit(&c)
		_, err := ServerTLS(c)
		require.Error(t, err, name)
	}
	c := serverConfig(a, cert, Require)
	c.Hybrid = true
	_, err := ServerTLS(c)
	require.Equal(t, compiledBackend == Native, err == nil, "hybrid groups exist in the native module only")
	_, err = ClientTLS(ClientTLSConfig{ServerName: "ca.example"})
	require.Error(t, err, "no anchors")
}

// A nil pool would make crypto/tls trust the system's anchors.
func TestServerWithoutAnchorsRefusesTheHandshake(t *testing.T) {
	a := newAuthority(t)
	s := serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), VerifyIfGiven)
	s.ClientCAs = func() *x509.CertPool { return nil }
	_, err := connect(t, s, ClientTLSConfig{Roots: a.pool, ServerName: "ca.example"})
	require.ErrorContains(t, err, "no anchors")
}

func TestServerJudgesClientsByItsClock(t *testing.T) {
	a := newAuthority(t)
	own := a.peer(t, x509.ExtKeyUsageClientAuth)
	c := serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), Require)
	client, err := ClientTLS(ClientTLSConfig{
		Roots: a.pool, ServerName: "ca.example",
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil },
	})
	require.NoError(t, err)
	now := day("2026-11-24").Add(time.Hour)
	c.Now = func() time.Time { return now }
	server, err := ServerTLS(c)
	require.NoError(t, err)
	_, err = handshake(server, at(client))
	require.NoError(t, err)
	now = now.AddDate(10, 0, 0)
	_, err = handshake(server, at(client))
	require.ErrorContains(t, err, "certificate has expired")
}

func TestServerFollowsItsAnchorsWithoutRebuilding(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	pool := a.pool
	c := serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), Require)
	c.ClientCAs = func() *x509.CertPool { return pool }
	s, err := ServerTLS(c)
	require.NoError(t, err)
	first, err := s.GetConfigForClient(nil)
	require.NoError(t, err)
	again, err := s.GetConfigForClient(nil)
	require.NoError(t, err)
	require.Same(t, first, again)
	require.Same(t, a.pool, first.ClientCAs)
	pool = b.pool
	next, err := s.GetConfigForClient(nil)
	require.NoError(t, err)
	require.Same(t, b.pool, next.ClientCAs)
	require.Same(t, a.pool, first.ClientCAs, "a handshake in flight keeps its snapshot")
	require.Equal(t, tls.RequireAndVerifyClientCert, next.ClientAuth)
}

func TestFixedParts(t *testing.T) {
	a := newAuthority(t)
	c := serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), Require)
	c.NextProtos = []string{"h2"}
	c.MinVersion = tls.VersionTLS13
	s, err := ServerTLS(c)
	require.NoError(t, err)
	inner, err := s.GetConfigForClient(nil)
	require.NoError(t, err)
	client, err := ClientTLS(ClientTLSConfig{Roots: a.pool, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS13), inner.MinVersion)
	require.Equal(t, uint16(tls.VersionTLS12), client.MinVersion)
	for _, x := range []*tls.Config{s, inner, client} {
		require.Equal(t, []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		}, x.CipherSuites)
		require.Equal(t, []tls.CurveID{tls.CurveP256, tls.CurveP384}, x.CurvePreferences)
		require.Equal(t, []string{"h2"}, x.NextProtos)
		require.Equal(t, tls.RenegotiateNever, x.Renegotiation)
		require.False(t, x.InsecureSkipVerify)
		require.Nil(t, x.Rand)
		require.Nil(t, x.KeyLogWriter)
	}
	require.True(t, s.SessionTicketsDisabled && inner.SessionTicketsDisabled)
}

// Without tickets a client that keeps a session cache never resumes.
func TestSessionsAreNotResumed(t *testing.T) {
	a := newAuthority(t)
	s, err := ServerTLS(serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), NoClientCert))
	require.NoError(t, err)
	c, err := ClientTLS(ClientTLSConfig{Roots: a.pool, ServerName: "ca.example"})
	require.NoError(t, err)
	c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 2 {
		state, err := handshake(at(s), at(c))
		require.NoError(t, err)
		require.False(t, state.DidResume)
	}
}

// A peer that only speaks TLS 1.2 with P-384 still gets in, one with TLS 1.1
// does not.
func TestOlderPeers(t *testing.T) {
	a := newAuthority(t)
	s, err := ServerTLS(serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), NoClientCert))
	require.NoError(t, err)
	old := at(&tls.Config{RootCAs: a.pool, ServerName: "ca.example", MaxVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.CurveP384}})
	state, err := handshake(at(s), old)
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS12), state.Version)
	require.Contains(t, tls12Suites(), state.CipherSuite)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	_, err = handshake(at(s), old)
	require.Error(t, err)
	strict := serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), NoClientCert)
	strict.MinVersion = tls.VersionTLS13
	s, err = ServerTLS(strict)
	require.NoError(t, err)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	_, err = handshake(at(s), old)
	require.Error(t, err)
}

func TestALPNIsOptionalForThePeer(t *testing.T) {
	a := newAuthority(t)
	c := serverConfig(a, a.peer(t, x509.ExtKeyUsageServerAuth), VerifyIfGiven)
	c.NextProtos = []string{"h2"}
	for _, protos := range [][]string{nil, {"h2"}} {
		state, err := connect(t, c, ClientTLSConfig{Roots: a.pool, ServerName: "ca.example", NextProtos: protos})
		require.NoError(t, err)
		require.Equal(t, len(protos) == 1, state.NegotiatedProtocol == "h2")
	}
	_, err := connect(t, c, ClientTLSConfig{Roots: a.pool, ServerName: "ca.example", NextProtos: []string{"spdy"}})
	require.Error(t, err)
}
