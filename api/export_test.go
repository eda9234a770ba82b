package api

import (
	"context"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// MaxQuotas is the bound on identities with a bucket of their own.
const MaxQuotas = maxQuotas

// Spend takes one certificate from the identity's bucket.
func (q *Quota) Spend(identity ca.Identity, now time.Time) error { return q.spend(identity, now) }

// Buckets is how many identities have a bucket.
func (q *Quota) Buckets() int { return len(q.buckets) }

// Enter takes a place in the gate.
func (g *Gate) Enter(ctx context.Context, now time.Time) (func(time.Time), error) {
	return g.enter(ctx, now)
}

// RetryAfter is when a client that got err may come back.
func RetryAfter(err error) time.Duration { return retryAfter(err, ca.ReasonOf(err)) }
