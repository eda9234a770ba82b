package authntest

import (
	"sync/atomic"
	"time"
)

// Clock is a clock that tests set, safe for concurrent use.
type Clock struct{ at atomic.Pointer[time.Time] }

// NewClock starts at now.
func NewClock(now time.Time) *Clock {
	c := &Clock{}
	c.at.Store(&now)
	return c
}

// Now is the time that it was set to.
func (c *Clock) Now() time.Time { return *c.at.Load() }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	next := c.Now().Add(d)
	c.at.Store(&next)
}
