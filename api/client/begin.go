package client

import (
	"context"
	"fmt"
	"time"
)

// Begin gets the first certificate by issue and stores it. It tries again with the
// growing pauses of Run, for a process that starts before its server or its token is
// there. It returns nil without an error when ctx has ended.
func (k *Keeper) Begin(ctx context.Context, issue func(context.Context) (*Certificate, error)) (*Certificate, error) {
	if k.Store == nil || k.Now == nil || issue == nil {
		return nil, fmt.Errorf("a keeper begins with a way to issue, a store and a clock")
	}
	for wait := minPause; ; wait = min(2*wait, maxRetry) {
		first, err := k.tryFirst(ctx, issue)
		if err == nil {
			return first, nil
		}
		next := k.Now().Add(k.pause(wait, time.Time{}, err))
		if ctx.Err() == nil && k.Failed != nil {
			k.Failed(err, next)
		}
		if !k.sleep(ctx, next) {
			return nil, nil // no failure
		}
	}
}

// tryFirst issues and stores once, in bounded time.
func (k *Keeper) tryFirst(ctx context.Context, issue func(context.Context) (*Certificate, error)) (*Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTry)
	defer cancel()
	first, err := issue(ctx)
	if err != nil {
		return nil, err
	}
	return first, k.Store(first)
}
