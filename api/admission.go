package api

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/kedge-ca/kedge/ca"
)

// maxQuotas bounds how many identities have a bucket of their own. The one that
// called longest ago loses its bucket first, and begins with a full one again.
const maxQuotas = 100_000

// maxRetryAfter is the longest wait that a client is told; a tiny
// rate would overflow.
const maxRetryAfter = time.Hour

// Quota limits how many certificates one identity gets: a bucket for each
// identity, in canonical form, so that no spelling opens a second one.
type Quota struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex
	buckets map[ca.Identity]*list.Element
	recent  *list.List // of *bucket, most recent first
}

type bucket struct {
	identity ca.Identity
	limiter  *rate.Limiter
}

// NewQuota allows each identity perSecond certificates and burst of them at once.
func NewQuota(perSecond float64, burst int) (*Quota, error) {
	// What is not a number is not below 0 either, and would limit nobody.
	if perSecond <= 0 || math.IsNaN(perSecond) || math.IsInf(perSecond, 1) || burst <= 0 {
		return nil, fmt.Errorf("quota of %g a second with a burst of %d is no limit", perSecond, burst)
	}
	return &Quota{limit: rate.Limit(perSecond), burst: burst, buckets: make(map[ca.Identity]*list.Element), recent: list.New()}, nil
}

// spend takes one certificate from the identity's bucket, or says when to come
// back. A refusal takes nothing: a reservation that is given back would, while
// others are made, cost or lend tokens.
func (q *Quota) spend(identity ca.Identity, now time.Time) error {
	limiter := q.limiter(identity)
	if limiter.AllowN(now, 1) {
		return nil
	}
	seconds := min((1-limiter.TokensAt(now))/float64(q.limit), maxRetryAfter.Seconds())
	refused := ca.Refuse(ca.ReasonIdentityQuota, "%s asks more than %g times a second", identity, float64(q.limit))
	return &retryError{refused, max(time.Duration(seconds*float64(time.Second)), time.Millisecond)}
}

func (q *Quota) limiter(identity ca.Identity) *rate.Limiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.buckets[identity]; ok {
		q.recent.MoveToFront(e)
		return e.Value.(*bucket).limiter
	}
	if len(q.buckets) >= maxQuotas {
		oldest := q.recent.Back()
		delete(q.buckets, oldest.Value.(*bucket).identity)
		q.recent.Remove(oldest)
	}
	b := &bucket{identity: identity, limiter: rate.NewLimiter(q.limit, q.burst)}
	q.buckets[identity] = q.recent.PushFront(b)
	return b.limiter
}

// Gate bounds how many orders are at work at once. It refuses at once, before
// any work, when it is full, and under load also an order whose deadline is
// nearer than orders take just now: work for a client that has gone is lost.
type Gate struct {
	limit    int64
	inside   atomic.Int64
	duration atomic.Int64 // nanoseconds an order takes, a moving average
}

// NewGate lets limit orders in at once.
func NewGate(limit int) (*Gate, error) {
	if limit <= 0 {
		return nil, fmt.Errorf("gate for %d orders lets nobody in", limit)
	}
	return &Gate{limit: int64(limit)}, nil
}

// Inside is how many orders are at work.
func (g *Gate) Inside() int64 { return g.inside.Load() }

// enter takes a place and returns what gives it back.
func (g *Gate) enter(ctx context.Context, now time.Time) (leave func(time.Time), err error) {
	inside := g.inside.Add(1)
	refuse := func(why string) (func(time.Time), error) {
		g.inside.Add(-1)
		return nil, ca.Refuse(ca.ReasonOverloaded, "%s, %d orders at work", why, inside)
	}
	if inside > g.limit {
		return refuse("full")
	}
	if deadline, ok := ctx.Deadline(); ok && inside > g.limit/2 && deadline.Sub(now) < time.Duration(g.duration.Load()) {
		return refuse("the deadline is too near")
	}
	return func(end time.Time) {
		g.inside.Add(-1)
		old := g.duration.Load()
		// A lost update of an average does no harm.
		g.duration.Store(old + (int64(end.Sub(now))-old)/16)
	}, nil
}
