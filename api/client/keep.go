package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/fips"
)

// Renewer renews a certificate by mutual TLS with itself; *Client is one.
type Renewer interface {
	Renew(ctx context.Context, current tls.Certificate) (*Certificate, error)
}

// Keeper renews a certificate for as long as it runs.
type Keeper struct {
	Client Renewer
	// Store is called with the first certificate and with each new one. An error
	// counts as a failed renewal: it is tried again.
	Store func(*Certificate) error
	// Failed is told of each failed renewal and when the next try is; nil is told
	// nothing. The certificate in use stays in use.
	Failed func(err error, next time.Time)
	// Watcher, when it is not nil, tells of changes of the bundle, and of rotations
	// that ask for a renewal before its time.
	Watcher Watcher
	// Changed is told of each change of the bundle that Watcher tells; nil is told
	// nothing.
	Changed func(News)
	Now     func() time.Time
}

// Times of tries and of the waits between them.
const (
	firstRetry = 5 * time.Second
	maxRetry   = 5 * time.Minute
	minPause   = time.Second
	maxTry     = time.Minute // of one try: a server that hangs may keep its connections
)

// Run keeps current, which has its Leaf, fresh until ctx ends: it renews when
// renewAt comes. After a failure it tries again with growing pauses that never
// pass a quarter of what is left of the certificate, are never shorter than the
// server asks for, and differ from one holder to the next.
func (k *Keeper) Run(ctx context.Context, current tls.Certificate, renewAt time.Time) error {
	if k.Client == nil || k.Store == nil || k.Now == nil || current.Leaf == nil {
		return fmt.Errorf("keeper needs a client, a store, a clock and a parsed certificate")
	}
	news := make(chan News, 1)
	if k.Watcher != nil {
		var following sync.WaitGroup
		defer following.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		following.Go(func() { k.follow(ctx, news) })
	}
	wait, next := firstRetry, renewAt
	var heeded *x509.Certificate // the signer that was drawn for already
	for {
		changed, ok := k.await(ctx, next, news)
		if !ok {
			return nil
		}
		if changed != nil {
			if k.Changed != nil {
				k.Changed(*changed)
			}
			if changed.asks(current) && !changed.Signer.Equal(heeded) {
				heeded, next = changed.Signer, earlier(next, k.within(changed.Over))
			}
			continue
		}
		fresh, err := k.try(ctx, current)
		if err == nil {
			// Whatever the server suggests, it is not asked again at once.
			current, wait = fresh.TLS(), firstRetry
			next = later(fresh.RenewAt, k.Now().Add(minPause))
			continue
		}
		next = k.Now().Add(k.pause(wait, current.Leaf.NotAfter, err))
		wait = min(2*wait, maxRetry)
		if k.Failed != nil && ctx.Err() == nil {
			k.Failed(err, next)
		}
	}
}

// await waits until next, when it returns nil, or for news, and tells whether to go on.
func (k *Keeper) await(ctx context.Context, next time.Time, news <-chan News) (*News, bool) {
	timer := time.NewTimer(max(0, next.Sub(k.Now())))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, false
	case n := <-news:
		return &n, true
	case <-timer.C:
		return nil, true
	}
}

// try renews and stores once, in bounded time.
func (k *Keeper) try(ctx context.Context, current tls.Certificate) (*Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTry)
	defer cancel()
	fresh, err := k.Client.Renew(ctx, current)
	if err != nil {
		return nil, err
	}
	return fresh, k.Store(fresh)
}

// sleep waits until next and tells whether to go on.
func (k *Keeper) sleep(ctx context.Context, next time.Time) bool {
	timer := time.NewTimer(max(0, next.Sub(k.Now())))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// pause is how long to wait after err.
func (k *Keeper) pause(wait time.Duration, end time.Time, err error) time.Duration {
	if left := end.Sub(k.Now()); left > 0 {
		wait = min(wait, max(minPause, left/4))
	}
	// Half of it by chance, so that a fleet does not come back together.
	var chance [2]byte
	if fips.Random(chance[:]) == nil {
		wait = wait/2 + wait/2*time.Duration(binary.BigEndian.Uint16(chance[:]))/(1<<16)
	}
	return max(wait, serverAsks(err))
}

// serverAsks is the pause that the server's RetryInfo asks for, 0 without one,
// and no longer than maxRetry.
func serverAsks(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return min(retry.GetRetryDelay().AsDuration(), maxRetry)
		}
	}
	return 0
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
