package zones

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// stream is one call of Follow at the primary.
type stream struct {
	have     primary.Have // what the replica has once it has taken what came
	received chan received
	cancel   context.CancelFunc
}

type received struct {
	directive primary.Directive
	err       error
}

// Follow blocks until the primary has something that the caller does not, or ctx
// ends. The stream behind it outlives the call, and begins again when the caller has
// something else than it was sent: a directive that could not be taken comes again.
//
// When the primary is under no anchor that is held, the bundles since are fetched
// from whoever answers and returned alone; the caller's replay shows what they are
// worth. Calls that come to nothing are spaced, also when the caller does not.
func (c *Client) Follow(ctx context.Context, have primary.Have) (primary.Directive, error) {
	c.following.Lock()
	defer c.following.Unlock()
	if c.stream == nil || c.stream.have != have {
		if c.stream != nil {
			c.stream.cancel()
			c.stream = nil
		}
		if err := c.pace.wait(ctx, have); err != nil {
			return primary.Directive{}, err
		}
		c.stream = c.open(have)
	}
	select {
	case <-ctx.Done():
		return primary.Directive{}, ctx.Err()
	case r := <-c.stream.received:
		if r.err == nil {
			c.stream.have = after(c.stream.have, r.directive)
			return r.directive, nil
		}
		c.stream.cancel()
		c.stream = nil
		return c.catchUp(ctx, have, r.err)
	}
}

// open begins a stream.
func (c *Client) open(have primary.Have) *stream {
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{have: have, received: make(chan received), cancel: cancel}
	go func() {
		defer cancel()
		hand := func(r received) bool {
			select {
			case s.received <- r:
				return r.err == nil
			case <-ctx.Done():
				return false
			}
		}
		call, err := c.rpc.Follow(ctx, &kedgev1.FollowRequest{Sequence: have.Sequence, Epoch: have.Epoch, Halted: have.Halted})
		for err == nil {
			var wire *kedgev1.Directive
			if wire, err = call.Recv(); err != nil {
				break
			}
			d, badErr := directiveFromWire(wire)
			if !hand(received{d, badErr}) {
				return
			}
		}
		hand(received{err: c.failure(ctx, "following the primary", err)})
	}()
	return s
}

// catchUp fetches what a replica needs before it can trust the primary again.
func (c *Client) catchUp(ctx context.Context, have primary.Have, untrusted error) (primary.Directive, error) {
	if ca.ReasonOf(untrusted) != ca.ReasonPrimaryUntrusted {
		return primary.Directive{}, untrusted
	}
	chain, err := c.unprovedBundles(ctx, have.Sequence)
	if err != nil {
		return primary.Directive{}, errors.Join(untrusted, err)
	}
	if len(chain) == 0 {
		return primary.Directive{}, untrusted
	}
	// Who sent it may not lift a halt.
	return primary.Directive{Bundles: chain, Halted: have.Halted}, nil
}

// Report tells the primary what the replica holds.
func (c *Client) Report(ctx context.Context, r rotation.Report) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.rpc.Report(call, &kedgev1.ReportRequest{Report: ReportToWire(r)})
	return c.failure(ctx, "reporting to the primary", err)
}

// pace spaces streams that begin with the same: nothing came of the one before.
type pace struct {
	last primary.Have
	next time.Duration
	any  bool
}

// firstWait is the wait before the second stream of one beginning; it doubles.
const firstWait = 200 * time.Millisecond

func (p *pace) wait(ctx context.Context, have primary.Have) error {
	if !p.any || p.last != have {
		p.last, p.any, p.next = have, true, firstWait
		return nil
	}
	timer := time.NewTimer(jittered(p.next))
	defer timer.Stop()
	p.next = min(2*p.next, maxBackoff)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// jittered is d with half of it by chance, so that the zones of a primary that comes
// back do not come together.
func jittered(d time.Duration) time.Duration {
	var chance [2]byte
	if fips.Random(chance[:]) != nil {
		return d
	}
	return d/2 + d/2*time.Duration(binary.BigEndian.Uint16(chance[:]))/(1<<16)
}
