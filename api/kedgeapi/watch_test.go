package kedgeapi_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/kedgeapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

func watch(t *testing.T, ctx context.Context, c kedgev1.CertificateAuthorityClient) grpc.ServerStreamingClient[kedgev1.Bundle] {
	t.Helper()
	stream, err := c.WatchBundle(ctx, &kedgev1.WatchBundleRequest{})
	require.NoError(t, err)
	return stream
}

// TestAWatcherGetsTheBundleAtOnceAndEachChange, and nothing when only the
// intermediate changes.
func TestAWatcherGetsTheBundleAtOnceAndEachChange(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	stream := watch(t, t.Context(), newClient(t, s))
	bundle := s.CA.Bundle
	for range 3 {
		got, err := stream.Recv()
		require.NoError(t, err)
		requireBundle(t, bundle, got)
		_, err = s.CA.Authority.Swap(s.CA.Intermediate, bundle)
		require.NoError(t, err)
		bundle = s.Republish(t)
	}
}

func TestWatchersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true, Watchers: 2})
		client := newClient(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, ctx := range []context.Context{ctx, t.Context()} {
			_, err := watch(t, ctx, client).Recv()
			require.NoError(t, err)
		}
		_, err := watch(t, t.Context(), client).Recv()
		r := apitest.RequireRefused(t, ca.ReasonOverloaded, err)
		require.Equal(t, codes.ResourceExhausted, r.Code)
		require.NotNil(t, r.Retry)

		cancel()
		synctest.Wait() // the server has seen that the watcher is gone
		_, err = watch(t, t.Context(), client).Recv()
		require.NoError(t, err)
	})
}

func TestOnePeerDoesNotTakeThePlacesOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := catest.New(t)
		var r registered
		require.NoError(t, kedgeapi.Register(&r, kedgeapi.Config{
			Front: noFront{}, Bundles: c.Authority, Draining: make(chan struct{}), Watchers: 7, WatchersPerPeer: 2,
		}))
		open := func(addr string) (leave func(), err error) {
			ctx, cancel := context.WithCancel(peer.NewContext(t.Context(), &peer.Peer{Addr: address(addr)}))
			t.Cleanup(cancel)
			stream, end := &slowStream{ctx: ctx, sent: make(chan *kedgev1.Bundle)}, make(chan error, 1)
			go func() { end <- r.service.WatchBundle(&kedgev1.WatchBundleRequest{}, stream) }()
			select {
			case <-stream.sent:
				return cancel, nil
			case err := <-end:
				return cancel, err
			}
		}
		refused := func(addr string) {
			_, err := open(addr)
			require.Equal(t, ca.ReasonOverloaded, ca.ReasonOf(err), addr)
		}
		leave, err := open("192.0.2.1:1000")
		require.NoError(t, err)
		_, err = open("[::ffff:192.0.2.1]:1001")
		require.NoError(t, err)
		refused("192.0.2.1:1002")
		for range 2 {
			_, err = open("[2001:db8::1]:1000")
			require.NoError(t, err)
		}
		refused("[2001:db8::ffff:1%eth0]:1000")
		for _, addr := range []string{"192.0.2.2:1000", "[2001:db8:0:1::1]:1000", "@"} {
			_, err = open(addr)
			require.NoError(t, err, addr)
		}
		refused("192.0.2.3:1000") // that would be the eighth

		leave()
		synctest.Wait()
		_, err = open("192.0.2.1:1003")
		require.NoError(t, err, "a place that was given back")
	})
}

// address is the address of a peer.
type address string

func (address) Network() string  { return "test" }
func (a address) String() string { return string(a) }

// registered catches the service instead of serving it.
type registered struct {
	service kedgev1.CertificateAuthorityServer
}

func (r *registered) RegisterService(_ *grpc.ServiceDesc, service any) {
	r.service = service.(kedgev1.CertificateAuthorityServer)
}

// noFront is for tests that issue nothing.
type noFront struct{}

func (noFront) Issue(context.Context, api.Order) (ca.Issued, error) {
	return ca.Issued{}, ca.Refuse(ca.ReasonInternal, "no test issues by it")
}

func newService(t *testing.T, bundles kedgeapi.Bundles, draining <-chan struct{}) kedgev1.CertificateAuthorityServer {
	t.Helper()
	var r registered
	require.NoError(t, kedgeapi.Register(&r, kedgeapi.Config{Front: noFront{}, Bundles: bundles, Draining: draining, Watchers: 1, WatchersPerPeer: 1}))
	return r.service
}

// slowStream is a client that takes a bundle only when the test reads from sent.
type slowStream struct {
	grpc.ServerStream
	ctx  context.Context
	sent chan *kedgev1.Bundle
}

func (s *slowStream) Context() context.Context { return s.ctx }

func (s *slowStream) Send(b *kedgev1.Bundle) error {
	s.sent <- b
	return nil
}

func TestASlowWatcherGetsTheNewestAndMissesWhatWasBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := catest.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		stream, ended := &slowStream{ctx: ctx, sent: make(chan *kedgev1.Bundle)}, make(chan error, 1)
		service := newService(t, c.Authority, make(chan struct{}))
		go func() { ended <- service.WatchBundle(&kedgev1.WatchBundleRequest{}, stream) }()
		synctest.Wait() // it is sending bundle 1 already
		for seq := uint64(2); seq <= 50; seq++ {
			bundle, err := ca.NewBundle(c.Domain, seq, c.Bundle.Anchors())
			require.NoError(t, err)
			c.Authority.PublishBundle(bundle)
		}
		require.EqualValues(t, 1, (<-stream.sent).GetSequence())
		require.EqualValues(t, 50, (<-stream.sent).GetSequence())
		synctest.Wait()
		select {
		case b := <-stream.sent:
			require.Fail(t, "sent again", "%d", b.GetSequence())
		default:
		}
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

// noBundle is an authority that has no bundle yet.
type noBundle struct{ changed chan struct{} }

func (noBundle) Bundle() *ca.Bundle { return nil }

func (noBundle) Reissue() ca.Reissue { return ca.Reissue{} }

func (b noBundle) BundleChanged() <-chan struct{} { return b.changed }

func TestWithoutABundleNobodyGetsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		draining := make(chan struct{})
		service := newService(t, noBundle{changed: make(chan struct{})}, draining)
		_, err := service.GetBundle(t.Context(), &kedgev1.GetBundleRequest{})
		require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(err))

		stream, ended := &slowStream{ctx: t.Context(), sent: make(chan *kedgev1.Bundle)}, make(chan error, 1)
		go func() { ended <- service.WatchBundle(&kedgev1.WatchBundleRequest{}, stream) }()
		synctest.Wait()
		require.Empty(t, ended, "it waits for the first one")
		close(draining)
		require.Equal(t, ca.ReasonDraining, ca.ReasonOf(<-ended))
	})
}

func TestAServiceIsCompleteOrNotMade(t *testing.T) {
	require.Error(t, kedgeapi.Register(&registered{}, kedgeapi.Config{}))
}

// TestAWatcherWhoseServerStopsIsToldToComeBack: whatever ends a stream that a
// client did not end is a code that proxies retry.
func TestAWatcherWhoseServerStopsIsToldToComeBack(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	stream := watch(t, t.Context(), newClient(t, s))
	_, err := stream.Recv()
	require.NoError(t, err)
	now, cancel := context.WithCancel(context.Background())
	cancel()
	s.API.Drain(now) // at once
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
}
