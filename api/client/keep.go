package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"
)

// Keeper renews a certificate for as long as it runs.
type Keeper struct {
	Client *Client
	// Store is called with the first certificate and with each new one. An error
	// counts as a failed renewal: it is tried again.
	Store func(*Certificate) error
	// Failed is told of each failed renewal and when the next try is; nil is told
	// nothing. The certificate in use stays in use.
	Failed func(err error, next time.Time)
	Now    func() time.Time
}

// first and longest wait between tries that fail.
const (
	firstRetry = 5 * time.Second
	maxRetry   = 5 * time.Minute
)

// Run keeps current fresh until ctx ends: it renews when renewAt comes, and after
// a failure again with growing pauses that never pass a quarter of what is left
// of the certificate.
func (k *Keeper) Run(ctx context.Context, current tls.Certificate, renewAt time.Time) error {
	if k.Client == nil || k.Store == nil || k.Now == nil {
		return fmt.Errorf("keeper needs a client, a store and a clock")
	}
	wait := firstRetry
	for next := renewAt; ; {
		timer := time.NewTimer(max(0, next.Sub(k.Now())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		fresh, err := k.Client.Renew(ctx, current)
		if err == nil {
			err = k.Store(fresh)
		}
		if err == nil {
			current, next, wait = fresh.TLS(), fresh.RenewAt, firstRetry
			continue
		}
		pause := wait
		if left := current.Leaf.NotAfter.Sub(k.Now()); left > 0 {
			pause = min(pause, max(time.Second, left/4))
		}
		next = k.Now().Add(pause)
		wait = min(2*wait, maxRetry)
		if k.Failed != nil {
			k.Failed(err, next)
		}
	}
}
