package apitest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/api/istio"
	"github.com/kedge-ca/kedge/api/kedgeapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// Cluster is the name of the one cluster whose tokens the server accepts.
const Cluster = "test"

// Options are what tests vary; zero fields have defaults that are never reached
// by accident.
type Options struct {
	Handshakes     int                                       // 0: 64
	Watchers       int                                       // 0: 100
	WatchersEach   int                                       // of one peer; 0: 100
	Queue          int                                       // 0: 1000
	Rate           float64                                   // 0: 1e6 a second
	Burst          int                                       // 0: 1e6
	RequestTimeout time.Duration                             // 0: 1 min
	Issuer         func(api.Issuer) api.Issuer               // around the authority
	Authenticator  func(api.Authenticator) api.Authenticator // around the real one
	Register       func(grpc.ServiceRegistrar)               // further services
	Handshake      func()                                    // called in each TLS handshake, holding its slot
	ConnectionAge  time.Duration                             // 0: never
	ConnectionIdle time.Duration                             // 0: never
	// Memory serves on connections in memory, so that a test can run in a bubble of
	// testing/synctest, where hours pass at once.
	Memory bool
}

// Server is a server that runs until the test ends.
type Server struct {
	CA       *catest.CA
	Clock    *authntest.Clock // of everything but TLS handshakes
	Issuer   *authntest.Issuer
	Front    *api.Front
	API      *api.Server
	Gate     *api.Gate
	Registry *prometheus.Registry
	Log      *Log
	Address  string
	// Authenticator is the one in force, for a front of another server.
	Authenticator func() api.Authenticator

	listener net.Listener
	own      atomic.Pointer[tls.Certificate] // of the TLS port
}

// New makes a server and serves it.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{
		Clock: authntest.NewClock(time.Now()), Issuer: authntest.NewIssuer(t, fips.ECDSAP256),
		Registry: prometheus.NewRegistry(), Log: &Log{},
	}
	s.CA = newCA(t, s.Clock)
	auth, err := authn.New(authn.Config{
		TrustDomain: s.CA.Domain, Now: s.Clock.Now, Kubernetes: []authn.KubernetesConfig{s.Issuer.Cluster(t, Cluster)},
	})
	require.NoError(t, err)
	t.Cleanup(auth.Close)
	metrics, err := api.NewMetrics(s.Registry)
	require.NoError(t, err)
	s.makeFront(t, o, auth, metrics)
	s.API, err = api.NewServer(api.ServerConfig{
		TLS: s.serverTLS(t, o.Handshake), Metrics: metrics, Log: slog.New(slog.NewJSONHandler(s.Log, nil)), Now: s.Clock.Now,
		Handshakes: or(o.Handshakes, 64), RequestTimeout: or(o.RequestTimeout, time.Minute),
		ConnectionAge: o.ConnectionAge, ConnectionIdle: o.ConnectionIdle,
	})
	require.NoError(t, err)
	istio.Register(s.API.Registrar(), s.Front)
	require.NoError(t, kedgeapi.Register(s.API.Registrar(), kedgeapi.Config{
		Front: s.Front, Bundles: s.CA.Authority, Draining: s.API.Draining(), Watchers: or(o.Watchers, 100), WatchersPerPeer: or(o.WatchersEach, 100),
	}))
	if o.Register != nil {
		o.Register(s.API.Registrar())
	}
	s.serve(t, o.Memory)
	return s
}

func (s *Server) makeFront(t testing.TB, o Options, auth api.Authenticator, metrics *api.Metrics) {
	t.Helper()
	quota, err := api.NewQuota(or(o.Rate, 1e6), or(o.Burst, 1e6))
	require.NoError(t, err)
	s.Gate, err = api.NewGate(or(o.Queue, 1000))
	require.NoError(t, err)
	if o.Authenticator != nil {
		auth = o.Authenticator(auth)
	}
	var issuer api.Issuer = s.CA.Authority
	if o.Issuer != nil {
		issuer = o.Issuer(issuer)
	}
	s.Authenticator = func() api.Authenticator { return auth }
	s.Front, err = api.NewFront(api.FrontConfig{
		Issuer: issuer, Authenticator: s.Authenticator,
		Quota: quota, Gate: s.Gate, Metrics: metrics, Now: s.Clock.Now,
	})
	require.NoError(t, err)
}

func (s *Server) serve(t testing.TB, inMemory bool) {
	t.Helper()
	if inMemory {
		s.listener = bufconn.Listen(256 << 10)
	} else {
		var err error
		s.listener, err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
	}
	s.Address = s.listener.Addr().String()
	s.API.SetServing(true)
	served := make(chan error, 1)
	go func() { served <- s.API.Serve(s.listener) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		s.API.Drain(now)
		require.NoError(t, <-served)
	})
}

// Connect opens a connection to the server, without TLS.
func (s *Server) Connect(ctx context.Context) (net.Conn, error) {
	if memory, ok := s.listener.(*bufconn.Listener); ok {
		return memory.DialContext(ctx)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.Address)
}

// ServerTLS is a configuration like that of the TLS port, for another server
// that clients take for this one.
func (s *Server) ServerTLS(t testing.TB) *tls.Config {
	t.Helper()
	return s.serverTLS(t, nil)
}

// serverTLS is the configuration of the TLS port, as cmd/ca makes it.
func (s *Server) serverTLS(t testing.TB, handshake func()) *tls.Config {
	t.Helper()
	s.RenewOwn(t)
	if handshake == nil {
		handshake = func() {}
	}
	config, err := fips.ServerTLS(fips.ServerTLSConfig{
		Certificate: func() (*tls.Certificate, error) {
			handshake()
			return s.own.Load(), nil
		},
		ClientAuth: fips.VerifyIfGiven, NextProtos: []string{"h2"},
		ClientCAs: func() *x509.CertPool { return s.CA.Authority.Bundle().Pool() },
	})
	require.NoError(t, err)
	return config
}

// RenewOwn has the server present a certificate of the intermediate in force.
func (s *Server) RenewOwn(t testing.TB) {
	t.Helper()
	s.own.Store(s.ownCertificate(t))
}

// ownCertificate has the authority issue the server's certificate.
func (s *Server) ownCertificate(t testing.TB) *tls.Certificate {
	t.Helper()
	identity, err := ca.ParseIdentity(s.CA.Domain.URI() + serverPath)
	require.NoError(t, err)
	caller, err := ca.NewCaller(identity, ca.Evidence{Method: ca.MethodLocal})
	require.NoError(t, err)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	request, err := ca.ParseRequest(catest.CSR(t, key, ""), ca.RequestOptions{Now: s.Clock.Now()}, s.CA.FIPS)
	require.NoError(t, err)
	issued, err := s.CA.Authority.Issue(context.Background(), caller, request)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: append([][]byte{issued.Leaf}, issued.Chain...), PrivateKey: key}
}

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Log keeps what a server logged.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String is what was logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
