package api_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// These tests run in bubbles where time is virtual: a sleep lasts exactly as long
// as it says and takes no time, and synctest.Wait waits until every goroutine
// waits for something.

// TestSilentConnectionsKeepNobodyOut: a handshake that waits for its client
// holds no slot.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true, Handshakes: 1})
		var silent []net.Conn
		for range 100 {
			conn, err := s.Connect(t.Context())
			require.NoError(t, err)
			silent = append(silent, conn)
		}
		half := clientHello(t, s) // one that begins and then falls silent
		synctest.Wait()
		begin := time.Now()
		requireAlive(t, s)
		require.Zero(t, time.Since(begin), "nobody waited")

		time.Sleep(10*time.Second + 1) // the limit of a handshake
		synctest.Wait()
		require.EqualValues(t, 101, counter(t, s, "kedge_handshakes_total", "result", "failed"))
		for _, conn := range append(silent, half) {
			_, err := io.Copy(io.Discard, conn)
			require.NoError(t, err, "the server closed it")
			require.NoError(t, conn.Close())
		}
	})
}

// clientHello begins a TLS handshake and returns the connection.
func clientHello(t *testing.T, s *apitest.Server) net.Conn {
	t.Helper()
	conn, err := s.Connect(t.Context())
	require.NoError(t, err)
	recorded, hello := net.Pipe()
	go func() {
		_ = tls.Client(hello, s.ClientTLS(t, nil, "h2")).Handshake()
		_ = hello.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := recorded.Read(b)
	require.NoError(t, err)
	require.NoError(t, recorded.Close())
	_, err = conn.Write(b[:n])
	require.NoError(t, err)
	return conn
}

// TestHandshakesAreShedWhenTooManyCompute: who waits for five seconds in vain is
// sent away.
func TestHandshakesAreShedWhenTooManyCompute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var isSlow atomic.Bool
		release := make(chan struct{})
		s := apitest.New(t, apitest.Options{Memory: true, Handshakes: 1, Handshake: func() {
			if isSlow.Swap(false) {
				<-release
			}
		}})
		isSlow.Store(true)
		slow := s.Dial(t, nil)
		slow.Connect()
		synctest.Wait() // it computes, in the only slot
		next := clientHello(t, s)
		begin := time.Now()
		_, err := io.Copy(io.Discard, next)
		require.NoError(t, err)
		require.Equal(t, 5*time.Second, time.Since(begin))
		require.EqualValues(t, 1, counter(t, s, "kedge_handshakes_total", "result", "shed"))
		require.NoError(t, next.Close())
		close(release)
		synctest.Wait()
		require.Equal(t, connectivity.Ready, slow.GetState(), "the slow one got through")
		requireAlive(t, s)
	})
}

// blocking is a server whose authority waits in each call until release is
// closed; inside counts those that wait.
func blocking(t *testing.T, release <-chan struct{}, inside *atomic.Int32) *apitest.Server {
	t.Helper()
	return apitest.New(t, apitest.Options{Memory: true, Issuer: func(real api.Issuer) api.Issuer {
		return fakeIssuer{real, func(context.Context) error {
			inside.Add(1)
			<-release
			return nil
		}}
	}})
}

func TestADrainFailsNoRequestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, inside := make(chan struct{}), &atomic.Int32{}
		s := blocking(t, release, inside)
		const inFlight = 20
		errs := make(chan error, inFlight)
		for range inFlight {
			client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
			ctx, request := s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")}
			go func() {
				_, err := client.Issue(ctx, request)
				errs <- err
			}()
		}
		synctest.Wait()
		require.EqualValues(t, inFlight, inside.Load())

		drained := make(chan bool)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			drained <- s.API.Drain(ctx)
		}()
		synctest.Wait()
		_, err := s.Connect(t.Context())
		require.Error(t, err, "no new connection is taken")
		close(release)
		for range inFlight {
			require.NoError(t, <-errs)
		}
		require.True(t, <-drained)
		require.True(t, s.API.Drain(t.Context()), "draining again changes nothing")
	})
}

func TestADrainEndsAtItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, inside := make(chan struct{}), &atomic.Int32{}
		s := blocking(t, release, inside)
		failed := make(chan error, 1)
		client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
		go func() {
			_, err := client.Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
			failed <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		drained := make(chan bool, 1)
		go func() { drained <- s.API.Drain(ctx) }()
		require.Equal(t, codes.Unavailable, status.Code(<-failed), "a code that proxies retry")
		close(release)
		require.False(t, <-drained)
	})
}

// TestADrainEndsEveryStream: also health's own, which knows of no drain, and
// connections that have not finished their handshake.
func TestADrainEndsEveryStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true})
		conn := s.Dial(t, nil)
		health, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		require.NoError(t, err)
		first, err := health.Recv()
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, first.GetStatus())
		bundle, err := kedgev1.NewCertificateAuthorityClient(conn).WatchBundle(t.Context(), &kedgev1.WatchBundleRequest{})
		require.NoError(t, err)
		_, err = bundle.Recv()
		require.NoError(t, err)
		silent, err := s.Connect(t.Context())
		require.NoError(t, err)
		synctest.Wait()

		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		require.True(t, s.API.Drain(ctx))
		require.Less(t, time.Since(begin), 10*time.Second, "nobody was waited for")
		_, err = bundle.Recv()
		r := apitest.RequireRefused(t, ca.ReasonDraining, err)
		require.Equal(t, codes.Unavailable, r.Code)
		for err = nil; err == nil; {
			_, err = health.Recv() // perhaps NOT_SERVING first
		}
		apitest.RequireRefused(t, ca.ReasonDraining, err)
		require.NoError(t, silent.Close())
	})
}

func TestHealthFollowsReadiness(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := healthpb.NewHealthClient(s.Dial(t, nil))
	for _, ok := range []bool{true, false, true} {
		s.API.SetServing(ok)
		r, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{})
		require.NoError(t, err)
		require.Equal(t, ok, r.GetStatus() == healthpb.HealthCheckResponse_SERVING)
	}
	_, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "nothing"})
	require.Equal(t, codes.NotFound, status.Code(err))
}

// TestPingsOfProxiesAreTolerated: pilot-agent and ztunnel ping every 30 s at the
// most often, others every 10 s, and faster is a flood.
func TestPingsOfProxiesAreTolerated(t *testing.T) {
	rows := map[string]struct {
		every     time.Duration
		tolerated bool
	}{
		"every 30 s": {30 * time.Second, true},
		"every 10 s": {10*time.Second + 1, true},
		"every 1 s":  {time.Second, false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := apitest.New(t, apitest.Options{Memory: true})
				c := dialRaw(t, s)
				require.NoError(t, c.tls.SetDeadline(time.Time{}))
				goAway := make(chan http2.ErrCode, 1)
				go c.readGoAway(goAway)
				for range 50 {
					time.Sleep(row.every)
					if c.WritePing(false, [8]byte{}) != nil {
						break
					}
				}
				synctest.Wait()
				select {
				case code := <-goAway:
					require.False(t, row.tolerated)
					require.Equal(t, http2.ErrCodeEnhanceYourCalm, code)
				default:
					require.True(t, row.tolerated)
				}
				_ = c.tls.Close() // the server may have closed it
			})
		})
	}
}

// readGoAway reads until the connection ends, answers pings and gives the code of
// a GOAWAY.
func (c *rawConn) readGoAway(code chan<- http2.ErrCode) {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.GoAwayFrame:
			code <- f.ErrCode
			return
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = c.WritePing(true, f.Data)
			}
		}
	}
}

// TestConnectionsEndWithAgeAndIdleness, and no call fails by it.
func TestConnectionsEndWithAgeAndIdleness(t *testing.T) {
	rows := map[string]apitest.Options{
		"age":      {Memory: true, ConnectionAge: time.Hour},
		"idleness": {Memory: true, ConnectionIdle: 15 * time.Minute},
	}
	for name, options := range rows {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := apitest.New(t, options)
				client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
				for range 10 {
					_, err := client.GetBundle(t.Context(), &kedgev1.GetBundleRequest{})
					require.NoError(t, err)
					time.Sleep(20 * time.Minute)
				}
				synctest.Wait()
				require.Greater(t, counter(t, s, "kedge_handshakes_total", "result", "ok"), 1.0)
				require.LessOrEqual(t, metric(t, s, "kedge_connections", nil).GetGauge().GetValue(), 1.0)
			})
		})
	}
}

func TestAServerIsCompleteOrNotMade(t *testing.T) {
	_, err := api.NewServer(api.ServerConfig{})
	require.Error(t, err)
	_, err = api.NewFront(api.FrontConfig{})
	require.Error(t, err)
}
