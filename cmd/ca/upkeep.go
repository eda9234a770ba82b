package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// upkeep keeps a running server supplied: intermediate, own certificate, dead
// keys and join tokens. One goroutine runs it; force and repair take the same lock.
type upkeep struct {
	custodian *ca.Custodian
	authority *ca.Authority
	serving   *servingCertificate
	tokens    tokenStore
	reissue   float64 // renewals a second that are asked for when the signer changes
	now       func() time.Time
	log       *slog.Logger

	busy   sync.Mutex // one tick at a time; held across I/O
	mu     sync.Mutex // guards what follows; never held across I/O
	supply ca.Supply
	retry  backoff
	last   error // of the last attempt, nil when all is well
}

// upkeepEvery is how often upkeep looks; what it looks at is in memory.
const upkeepEvery = 5 * time.Second

// sweepEvery is how often retired keys, while there are any, and expired join tokens
// are looked for.
const sweepEvery = time.Hour

// tokenStore is where join tokens are.
type tokenStore interface {
	DeleteJoinTokens(ctx context.Context, expiredBefore time.Time) (int, error)
}

// keepTokens is how long a join token is kept after its end: whoever comes late
// with it, or again, is told so, and not that there is no such token.
const keepTokens = 7 * 24 * time.Hour

// run works until ctx ends.
func (u *upkeep) run(ctx context.Context) {
	ticker := time.NewTicker(upkeepEvery)
	defer ticker.Stop()
	swept, tokensSwept := u.now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := u.now()
		sweep := u.status().Retired > 0 && now.Sub(swept) >= sweepEvery
		if sweep {
			swept = now
		}
		if u.due(now) || sweep {
			if err := u.tick(ctx, false); err != nil {
				u.log.Error("upkeep failed; issuing goes on while the intermediate lives", "error", err, "reason", ca.ReasonOf(err))
			}
		}
		u.renewServing(ctx)
		if now.Sub(tokensSwept) >= sweepEvery {
			tokensSwept = now
			u.sweepTokens(ctx)
		}
	}
}

// sweepTokens deletes join tokens that have been of no use for long.
func (u *upkeep) sweepTokens(ctx context.Context) {
	n, err := u.tokens.DeleteJoinTokens(ctx, u.now().Add(-keepTokens))
	if err != nil {
		u.log.Warn("expired join tokens were not deleted", "error", err, "reason", ca.ReasonOf(err))
	}
	if n > 0 {
		u.log.Info("expired join tokens deleted", "tokens", n)
	}
}

// renewServing renews the server's own certificate when that is due, and when the
// last attempt did not fail just now.
func (u *upkeep) renewServing(ctx context.Context) {
	if !u.serving.due() || !u.serving.mayRetry() {
		return
	}
	if err := u.serving.renew(ctx); err != nil {
		u.log.Error("server certificate was not renewed", "error", err, "reason", ca.ReasonOf(err))
	}
}

func (u *upkeep) due(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	// What failed is tried again, whatever is known of the supply: a command of the
	// primary may have come since, and the state could not be read.
	return (u.supply.Due(now) || u.last != nil) && u.retry.ready(now)
}

// tick asks the custodian once and puts what it found or made in force.
func (u *upkeep) tick(ctx context.Context, force bool) error {
	u.busy.Lock()
	defer u.busy.Unlock()
	now := u.now()
	supply, err := u.custodian.Tick(ctx, now, force)
	u.note(supply, err, now)
	switch {
	case supply.Bundle == nil:
		return err
	case supply.Intermediate == nil:
		u.authority.PublishBundle(supply.Bundle)
		return err
	}
	old, swapErr := u.authority.Swap(supply.Intermediate, supply.Bundle)
	if swapErr != nil {
		return errors.Join(err, swapErr)
	}
	u.askReissue(old, supply.Intermediate, now)
	if supply.Renewed {
		u.serving.retryNow()
		u.log.Info("new intermediate in force", "key_id", supply.Intermediate.KeyID(), "not_after", supply.Intermediate.NotAfter())
	}
	return err
}

// askReissue asks those who watch the bundle to renew, when another anchor signs than
// before: over so long that they come at the configured rate.
func (u *upkeep) askReissue(old, next *ca.Intermediate, now time.Time) {
	if old == nil || old.Anchor().Equal(next.Anchor()) {
		return
	}
	live := u.authority.Outstanding(now).Live[ca.AnchorIDOf(old.Anchor())]
	over := time.Duration(float64(live) / u.reissue * float64(time.Second))
	u.authority.AskReissue(ca.Reissue{Anchor: ca.AnchorIDOf(next.Anchor()), Over: over})
	u.log.Info("another anchor signs; watchers are asked to renew", "anchor", ca.AnchorIDOf(next.Anchor()), "live", live, "over", over.String())
}

// alone runs do while no tick changes the state.
func (u *upkeep) alone(do func() error) error {
	u.busy.Lock()
	defer u.busy.Unlock()
	return do()
}

// note remembers the outcome of a tick.
func (u *upkeep) note(supply ca.Supply, err error, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if supply.Bundle != nil {
		u.supply = supply
	}
	limit := retryAtMost
	if !isUsable(supply.Intermediate, now) && !isUsable(u.authority.Intermediate(), now) { // nobody gets anything until this works
		limit = unservedAtMost
	}
	if supply.HasToMove() { // a rotation of all zones waits for this replica
		limit = unservedAtMost
	}
	if u.last != nil && err == nil {
		u.log.Info("upkeep works again", "after", u.last)
	}
	switch u.last = err; {
	case err != nil:
		u.retry.failed(now, limit)
	case supply.Renewed && supply.Due(now):
		// The root's clock is days behind: another one would be due at once as well.
		u.log.Warn("the new intermediate is due for renewal already; compare the clocks of this machine and the root's", "not_before", supply.Intermediate.Certificate().NotBefore)
		u.retry.failed(now, limit)
	default:
		u.retry = backoff{}
	}
}

// status is what upkeep knows of the supply.
func (u *upkeep) status() ca.Supply {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.supply
}

// lastError is why the last tick failed, nil if it did not.
func (u *upkeep) lastError() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last
}

// retryAtMost is the longest wait between attempts that fail.
const retryAtMost = 10 * time.Minute

// backoff spaces attempts that fail: 5 s, then doubling to a limit.
type backoff struct {
	wait time.Duration
	next time.Time
}

func (b *backoff) ready(now time.Time) bool { return !now.Before(b.next) }

func (b *backoff) failed(now time.Time, limit time.Duration) {
	b.wait = min(max(2*b.wait, upkeepEvery), limit)
	b.next = now.Add(b.wait)
}
