package api_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
)

// second makes another server beside s, as cmd/ca does for Linkerd, changed by change.
func second(t *testing.T, s *apitest.Server, change func(*api.ServerConfig)) (*api.Server, error) {
	t.Helper()
	metrics, err := api.NewMetrics(prometheus.NewRegistry())
	require.NoError(t, err)
	c := api.ServerConfig{
		TLS: s.ServerTLS(t), NoALPN: true, Metrics: metrics, Log: slog.New(slog.NewJSONHandler(s.Log, nil)), Now: s.Clock.Now,
		Handshakes: 4, RequestTimeout: time.Minute,
	}
	change(&c)
	return api.NewServer(c)
}

// serveOn serves on a loopback address until the test ends and returns it.
func serveOn(t *testing.T, server *api.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		server.Drain(now)
		require.NoError(t, <-served)
	})
	return listener.Addr().String()
}

// TestAClientWithoutALPNIsServedWhereThatIsAllowed: Linkerd's proxies offer no
// protocol. The other port refuses them (TestTLSOfTheFront).
func TestAClientWithoutALPNIsServedWhereThatIsAllowed(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	server, err := second(t, s, func(*api.ServerConfig) {})
	require.NoError(t, err)
	server.SetServing(true)
	address := serveOn(t, server)
	for name, row := range map[string]struct {
		protocols []string
		ok        bool
	}{
		"none": {nil, true}, "h2": {[]string{"h2"}, true}, "h2 among others": {[]string{"x", "h2"}, true},
		"another": {[]string{"spdy/3.1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithNoProxy(), grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					d := tls.Dialer{Config: s.ClientTLS(t, nil, row.protocols...)}
					return d.DialContext(ctx, "tcp", address)
				}))
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
			ctx, cancel := context.WithTimeout(t.Context(), answerLimit)
			defer cancel()
			_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
			require.Equal(t, row.ok, err == nil, "%v", err)
		})
	}
}

// TestPlaintextIsForLoopbackAlone: tokens travel over it.
func TestPlaintextIsForLoopbackAlone(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	plain := func(c *api.ServerConfig) { c.Plaintext, c.TLS = true, nil }
	server, err := second(t, s, plain)
	require.NoError(t, err)
	server.SetServing(true)
	conn, err := grpc.NewClient("passthrough:///"+serveOn(t, server), grpc.WithNoProxy(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	for network, address := range map[string]string{"tcp": "0.0.0.0:0", "tcp4": ":0", "unix": t.TempDir() + "/socket"} {
		server, err := second(t, s, plain)
		require.NoError(t, err)
		listener, err := net.Listen(network, address)
		require.NoError(t, err)
		require.ErrorContains(t, server.Serve(listener), "loopback", address)
		require.NoError(t, listener.Close())
	}
	_, err = second(t, s, func(c *api.ServerConfig) { c.Plaintext = true })
	require.Error(t, err, "TLS and none")
	_, err = second(t, s, func(c *api.ServerConfig) { c.TLS = nil })
	require.Error(t, err, "neither")
}
