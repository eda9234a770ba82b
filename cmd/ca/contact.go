package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// contact is a source that remembers when the primary answered last, and why it did
// not.
type contact struct {
	primary.Source
	now func() time.Time
	log *slog.Logger

	mu     sync.Mutex // never held across I/O
	last   time.Time  // zero before the first answer since the start
	failed error      // nil while the primary answers
	told   time.Time  // when a failure was logged last
	why    ca.Reason  // of it
}

// Follow implements primary.Source.
func (c *contact) Follow(ctx context.Context, have primary.Have) (primary.Directive, error) {
	d, err := c.Source.Follow(ctx, have)
	c.note(ctx, err)
	return d, err
}

// Report implements primary.Source.
func (c *contact) Report(ctx context.Context, r rotation.Report) error {
	err := c.Source.Report(ctx, r)
	c.note(ctx, err)
	return err
}

func (c *contact) note(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		if c.failed != nil {
			c.log.Info("the primary answers again", "after", c.failed)
		}
		c.last, c.failed = c.now(), nil
		return
	}
	c.failed = err
}

// state is when the primary answered last, and why it does not.
func (c *contact) state() (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.failed
}

// tellEvery is how often a failure that stays is logged.
const tellEvery = time.Minute

// failure logs what went wrong with following: at once, and for the same reason once a
// minute.
func (c *contact) failure(err error) {
	now, why := c.now(), ca.ReasonOf(err)
	c.mu.Lock()
	isDue := why != c.why || now.Sub(c.told) >= tellEvery
	if isDue {
		c.told, c.why = now, why
	}
	c.mu.Unlock()
	if isDue {
		c.log.Warn("following the primary failed; issuing goes on while the intermediate lives", "error", err, "reason", why)
	}
}
