package api_test

import (
	"context"
	"crypto/tls"
	"io"
	"math"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// drainLimit is how long the drains of these tests may take.
const drainLimit = 3 * time.Second

// TestAConnectionThatSaysTooLittleIsClosed: also one that falls silent after its
// TLS handshake has no more than the ten seconds that a handshake has.
func TestAConnectionThatSaysTooLittleIsClosed(t *testing.T) {
	rows := map[string]string{
		"nothing":         "",
		"half a preface":  http2.ClientPreface[:12],
		"only a preface":  http2.ClientPreface,
		"another preface": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	for name, says := range rows {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := apitest.New(t, apitest.Options{Memory: true})
				plain, err := s.Connect(t.Context())
				require.NoError(t, err)
				conn := tls.Client(plain, s.ClientTLS(t, nil, "h2"))
				require.NoError(t, conn.Handshake())
				_, err = io.WriteString(conn, says)
				require.NoError(t, err)
				begin := time.Now()
				_, _ = io.Copy(io.Discard, conn) // however it ends
				require.LessOrEqual(t, time.Since(begin), 10*time.Second)
				require.NoError(t, plain.Close())
				synctest.Wait()
				require.Zero(t, gauge(t, s, "kedge_connections"), "it is not counted any more")
				requireAlive(t, s)
			})
		})
	}
}

// stalled is a connection that takes headers but no byte of an answer, and ended
// is closed when the server closes it.
func stalled(t *testing.T, s *apitest.Server) (c *rawConn, ended <-chan struct{}) {
	t.Helper()
	c = dialRaw(t, s, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, c.tls)
	}()
	return c, closed
}

// drain drains s within drainLimit and tells whether all could finish.
func drain(s *apitest.Server) bool {
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	return s.API.Drain(ctx)
}

// TestAClientThatTakesNothingHoldsOnlyItsConnection: with a window of zero no
// answer can be sent. It holds no place in the gate, and a drain waits for it no
// longer than its limit.
func TestAClientThatTakesNothingHoldsOnlyItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true, Queue: 1})
		c, ended := stalled(t, s)
		before := len(s.CA.Recorder.Records())
		c.call(t, issuePath, issueMessage(t), "authorization", "Bearer "+s.Token(t, "a"))
		synctest.Wait()
		require.Len(t, s.CA.Recorder.Records(), before+1, "it was issued, and waits to be taken")
		require.Zero(t, s.Gate.Inside())
		requireAlive(t, s)

		begin := time.Now()
		require.False(t, drain(s))
		require.Equal(t, drainLimit, time.Since(begin))
		<-ended
		require.NoError(t, c.tls.NetConn().Close())
	})
}

// TestAWatcherThatTakesNothingEndsWithADrain, however much waits to be taken.
func TestAWatcherThatTakesNothingEndsWithADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true})
		c, ended := stalled(t, s)
		c.call(t, kedgev1.CertificateAuthority_WatchBundle_FullMethodName, message(nil, false))
		for range 100 { // more than gRPC keeps for a stream
			synctest.Wait()
			require.EqualValues(t, 1, gauge(t, s, "kedge_bundle_watchers"))
			s.Republish(t)
		}
		begin := time.Now()
		require.False(t, drain(s))
		require.Equal(t, drainLimit, time.Since(begin))
		<-ended
		require.Zero(t, gauge(t, s, "kedge_bundle_watchers"))
		require.NoError(t, c.tls.NetConn().Close())
	})
}

// waitingForABody is a connection with a call whose body never comes.
func waitingForABody(t *testing.T, s *apitest.Server, path string) *rawConn {
	t.Helper()
	c := dialRaw(t, s)
	require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.encode(t, path), EndHeaders: true}))
	return c
}

// TestABodyThatNeverComesEndsItsCall: a call costs memory before anybody is
// authenticated, and a connection may live for hours.
func TestABodyThatNeverComesEndsItsCall(t *testing.T) {
	for _, path := range []string{
		issuePath, "/istio.v1.auth.IstioCertificateService/CreateCertificate", "/grpc.health.v1.Health/Check",
		kedgev1.CertificateAuthority_WatchBundle_FullMethodName, "/grpc.health.v1.Health/Watch",
	} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := apitest.New(t, apitest.Options{Memory: true, RequestTimeout: 10 * time.Second})
				c := waitingForABody(t, s, path)
				begin := time.Now()
				o := c.end(t)
				require.LessOrEqual(t, time.Since(begin), 20*time.Second)
				require.GreaterOrEqual(t, time.Since(begin), 10*time.Second, "slow clients are served")
				require.True(t, o.refused(), "%+v", o)
				require.NoError(t, c.tls.NetConn().Close())
				requireAlive(t, s)
			})
		})
	}
}

// TestAStreamWithoutItsRequestHoldsNoDrain: it is a stream like others.
func TestAStreamWithoutItsRequestHoldsNoDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true})
		c := waitingForABody(t, s, kedgev1.CertificateAuthority_WatchBundle_FullMethodName)
		synctest.Wait()
		begin := time.Now()
		drained := make(chan bool, 1)
		go func() { drained <- drain(s) }()
		for { // gRPC's GOAWAY waits for the answer to a ping
			frame, err := c.ReadFrame()
			if err != nil {
				break
			}
			if f, ok := frame.(*http2.PingFrame); ok && !f.IsAck() {
				require.NoError(t, c.WritePing(true, f.Data))
			}
		}
		require.True(t, <-drained)
		require.Less(t, time.Since(begin), drainLimit)
		require.NoError(t, c.tls.NetConn().Close())
	})
}

// TestAWatcherOutlivesTheDeadlineOfCalls: only its request must come in time.
func TestAWatcherOutlivesTheDeadlineOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true, RequestTimeout: 10 * time.Second})
		stream, err := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).WatchBundle(t.Context(), &kedgev1.WatchBundleRequest{})
		require.NoError(t, err)
		for range 3 {
			_, err = stream.Recv()
			require.NoError(t, err)
			time.Sleep(time.Hour)
			s.Republish(t)
		}
	})
}

// TestTheLargestMessageIsRead: the bound is exact, and what is within it is
// refused by us and not by gRPC.
func TestTheLargestMessageIsRead(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
	const limit = 64 << 10
	request := &kedgev1.IssueRequest{Csr: make([]byte, limit)}
	request.Csr = request.Csr[proto.Size(request)-limit:]
	require.Equal(t, limit, proto.Size(request))
	_, err := client.Issue(s.As(t, "a"), request)
	apitest.RequireRefused(t, ca.ReasonCSRTooLarge, err)

	request.Csr = append(request.Csr, 0)
	_, err = client.Issue(s.As(t, "a"), request)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.Empty(t, apitest.RefusalOf(t, err).Reason)
}

// TestOddSettingsOfAClient: what a client may ask of its connection changes
// nothing for others, and what it may not ask ends the connection.
func TestOddSettingsOfAClient(t *testing.T) {
	rows := map[string]struct {
		setting http2.Setting
		served  bool
	}{
		"a header table of 4 GiB":  {http2.Setting{ID: http2.SettingHeaderTableSize, Val: math.MaxUint32}, true},
		"no header table":          {http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}, true},
		"frames of 16 MiB":         {http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1<<24 - 1}, true},
		"the largest window":       {http2.Setting{ID: http2.SettingInitialWindowSize, Val: math.MaxInt32}, true},
		"no streams":               {http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}, true},
		"a setting nobody knows":   {http2.Setting{ID: 0xfe, Val: 1}, true},
		"headers of one byte":      {http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 1}, false},
		"a window above the limit": {http2.Setting{ID: http2.SettingInitialWindowSize, Val: math.MaxInt32 + 1}, false},
		"a window of 4 GiB":        {http2.Setting{ID: http2.SettingInitialWindowSize, Val: math.MaxUint32}, false},
	}
	s := apitest.New(t, apitest.Options{})
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, s, row.setting)
			c.callInPieces(t, issuePath, issueMessage(t), "authorization", "Bearer "+s.Token(t, "a"))
			o := c.end(t)
			require.Equal(t, row.served, !o.refused(), "%+v", o)
			requireAlive(t, s)
		})
	}
}

// TestAFloodOfPingsEndsTheConnection, also when its answers are not read.
func TestAFloodOfPingsEndsTheConnection(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	c := dialRaw(t, s)
	var err error
	for n := 0; n < 1_000_000 && err == nil; n++ {
		err = c.WritePing(false, [8]byte{})
	}
	require.Error(t, err, "a million pings")
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server closed it")
	requireAlive(t, s)
}

// TestTheServerAnnouncesAndHoldsItsLimits: one connection has 256 calls at once,
// and a client that keeps to what it was told is never cut off.
func TestTheServerAnnouncesAndHoldsItsLimits(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	c := dialRaw(t, s)
	frame, err := c.ReadFrame()
	require.NoError(t, err)
	settings := frame.(*http2.SettingsFrame)
	for id, want := range map[http2.SettingID]uint32{http2.SettingMaxConcurrentStreams: 256, http2.SettingMaxHeaderListSize: 32 << 10} {
		got, ok := settings.Value(id)
		require.True(t, ok, id)
		require.Equal(t, want, got, id)
	}
	const last = 2*256 + 1
	for id := uint32(1); id <= last; id += 2 {
		require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(t, issuePath), EndHeaders: true}))
	}
	for {
		frame, err := c.ReadFrame()
		require.NoError(t, err)
		if f, ok := frame.(*http2.RSTStreamFrame); ok {
			require.EqualValues(t, last, f.StreamID)
			require.Equal(t, http2.ErrCodeRefusedStream, f.ErrCode)
			return
		}
	}
}

// TestAStreamEndsWithTheAgeOfItsConnection: a watcher that ignores the request to
// reconnect is cut off when calls have had their time.
func TestAStreamEndsWithTheAgeOfItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true, ConnectionAge: time.Hour, RequestTimeout: 10 * time.Second})
		begin := time.Now()
		stream, err := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).WatchBundle(t.Context(), &kedgev1.WatchBundleRequest{})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		_, err = stream.Recv()
		require.Equal(t, codes.Unavailable, status.Code(err), "a code that clients retry")
		require.Greater(t, time.Since(begin), 50*time.Minute)
		require.Less(t, time.Since(begin), 70*time.Minute)
	})
}

// TestAClientThatVanishedIsForgotten: no one answers the server's pings any more,
// and no network says so.
func TestAClientThatVanishedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true})
		c := dialRaw(t, s)
		require.NoError(t, c.tls.SetDeadline(time.Time{}))
		begin := time.Now()
		o := c.end(t) // answers no ping
		require.True(t, o.closed || o.isGone, "%+v", o)
		require.Less(t, time.Since(begin), 90*time.Second)
		require.NoError(t, c.tls.NetConn().Close())
		synctest.Wait()
		require.Zero(t, gauge(t, s, "kedge_connections"))
	})
}
