package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// Config is what a Follower works with. Everything but Canary and Failed is needed.
type Config struct {
	Zone      rotation.Zone
	Replica   string
	Version   string // of the program
	Source    primary.Source
	Custodian *ca.Custodian
	Authority *ca.Authority
	// Upkeep brings the authority up to what the custodian has stored: it ticks the
	// custodian and puts bundle and intermediate in force. It is called after each
	// change, and may be called at any time.
	Upkeep func(ctx context.Context) error
	Now    func() time.Time
	// Trusted is set where Source is in this process: a bundle that is held without its
	// signed form, from before the chain, is then taken for one of its past.
	Trusted bool
	// Canary makes handshakes with a canary under each anchor of the bundle that does
	// not sign yet: "" for an anchor when all went well, else why one failed.
	Canary func(ctx context.Context, b *ca.Bundle) map[ca.AnchorID]string
	// Failed hears of what went wrong; nothing stops for it.
	Failed func(error)
}

// Follower follows a primary. It is safe for concurrent use.
type Follower struct {
	c Config

	taking sync.Mutex // one directive at a time; held across I/O

	mu   sync.Mutex // guards what follows; never held across I/O
	plan string     // id of the rotation under way, as the primary said last
}

// New checks c.
func New(c Config) (*Follower, error) {
	if c.Source == nil || c.Custodian == nil || c.Authority == nil || c.Upkeep == nil || c.Now == nil || c.Zone == "" || c.Replica == "" {
		return nil, fmt.Errorf("follower needs a zone, a replica, a source, a custodian, an authority, an upkeep and a clock")
	}
	if c.Failed == nil {
		c.Failed = func(error) {}
	}
	return &Follower{c: c}, nil
}

const (
	reportEvery = 5 * time.Second
	// A source that fails is asked again after a second, then after twice as long each
	// time, up to this.
	retryAtMost = 10 * time.Second
)

// Run follows and reports until ctx ends. A halt that is stored is in force before
// anything else.
func (f *Follower) Run(ctx context.Context) {
	if err := f.Restore(ctx); err != nil {
		f.c.Failed(err)
	}
	changed := make(chan struct{}, 1)
	var following sync.WaitGroup
	following.Go(func() { f.follow(ctx, changed) })
	defer following.Wait()
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		if err := f.Report(ctx); err != nil && ctx.Err() == nil {
			f.c.Failed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C:
		}
	}
}

func (f *Follower) follow(ctx context.Context, changed chan<- struct{}) {
	wait := time.Second
	for ctx.Err() == nil {
		err := f.once(ctx)
		if err == nil {
			wait = time.Second
			select {
			case changed <- struct{}{}:
			default:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		f.c.Failed(err)
		timer := time.NewTimer(wait)
		wait = min(2*wait, retryAtMost)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (f *Follower) once(ctx context.Context) error {
	have, err := f.Have(ctx)
	if err != nil {
		return err
	}
	d, err := f.c.Source.Follow(ctx, have)
	if err != nil {
		return fmt.Errorf("following the primary: %w", err)
	}
	return f.Take(ctx, d)
}

// Have is what this replica holds, as it asks for more.
func (f *Follower) Have(ctx context.Context) (primary.Have, error) {
	held, err := f.c.Custodian.Held(ctx)
	if err != nil {
		return primary.Have{}, err
	}
	have := primary.Have{Zone: f.c.Zone, Replica: f.c.Replica, Sequence: held.Bundle.Sequence(), Epoch: held.Command.Epoch, Halted: held.Halted}
	if len(held.Signed) == 0 {
		have.Sequence-- // its signed form is wanted
	}
	return have, nil
}

// Restore puts a stored halt in force, at a start.
func (f *Follower) Restore(ctx context.Context) error {
	held, err := f.c.Custodian.Held(ctx)
	if err != nil {
		return err
	}
	f.c.Authority.Halt(held.Halted)
	return nil
}

// Take takes what is new of a directive: the halt first, which needs nothing else,
// then bundles, then the command, which needs the bundle. What is refused keeps
// nothing else from being taken, but a command whose bundle was refused.
func (f *Follower) Take(ctx context.Context, d primary.Directive) error {
	f.taking.Lock()
	defer f.taking.Unlock()
	f.mu.Lock()
	f.plan = d.Plan
	f.mu.Unlock()
	now := f.c.Now()
	failed := []error{f.halt(ctx, now, d.Halted)}
	held, err := f.c.Custodian.Held(ctx)
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	err = f.adopt(ctx, now, held, d.Bundles)
	if err == nil && d.Command.Epoch > held.Command.Epoch {
		err = f.c.Custodian.Obey(ctx, now, d.Command)
	}
	failed = append(failed, err)
	// Also where nothing was new: the last upkeep may have failed.
	return errors.Join(append(failed, f.c.Upkeep(ctx))...)
}

func (f *Follower) halt(ctx context.Context, now time.Time, why string) error {
	if why != "" {
		f.c.Authority.Halt(why) // before it is stored: stopping cannot wait
	}
	if err := f.c.Custodian.Halt(ctx, now, why); err != nil {
		return err
	}
	f.c.Authority.Halt(why)
	return nil
}

// adopt replays bundles upon the one that is held, and stores the last.
func (f *Follower) adopt(ctx context.Context, now time.Time, held ca.Held, came []bundle.Signed) error {
	if len(came) == 0 {
		return nil
	}
	at, rest, err := begin(held, came, f.c.Trusted)
	if err != nil {
		return err
	}
	last, refused := at.Replay(rest)
	if last == at && len(held.Signed) > 0 {
		return refused
	}
	signed, err := signedOf(last, came)
	if err != nil {
		return err
	}
	if err := f.c.Custodian.Adopt(ctx, now, ca.Adoption{Bundle: last.Bundle(), Signed: signed}); err != nil {
		return err
	}
	return refused
}

// begin is the bundle that is held, as the beginning of what came. One that is held
// without its signed form, from before its primary had a chain, has to be the first
// that came, or at a source that is trusted, have an anchor in common with it.
func begin(held ca.Held, came []bundle.Signed, trusted bool) (*bundle.Accepted, []bundle.Signed, error) {
	if len(held.Signed) > 0 {
		at, err := Accepted(held.Signed)
		return at, came, err
	}
	for i, s := range came {
		at, err := bundle.Begin(s, sha256.Sum256(s.Payload))
		if err != nil {
			return nil, nil, err
		}
		b := at.Bundle()
		switch {
		case b.Sequence() < held.Bundle.Sequence():
			continue
		case b.TrustDomain() != held.Bundle.TrustDomain():
			return nil, nil, ca.Refuse(ca.ReasonBundleForeign, "the chain is of trust domain %s", b.TrustDomain())
		case b.Sequence() == held.Bundle.Sequence() && isSame(b, held.Bundle),
			b.Sequence() > held.Bundle.Sequence() && trusted && overlap(b, held.Bundle):
			return at, came[i+1:], nil
		}
		return nil, nil, ca.Refuse(ca.ReasonBundleForked, "bundle %d, with which the chain begins, does not follow from bundle %d, which is held", b.Sequence(), held.Bundle.Sequence())
	}
	return nil, nil, ca.Refuse(ca.ReasonBundleReplayed, "every bundle that came is older than bundle %d, which is held", held.Bundle.Sequence())
}

// overlap tells whether two bundles have an anchor in common.
func overlap(a, b *ca.Bundle) bool {
	for _, anchor := range a.Anchors() {
		if b.Contains(ca.AnchorIDOf(anchor.Certificate)) {
			return true
		}
	}
	return false
}

// isSame tells whether two bundles have the same anchors in the same slots.
func isSame(a, b *ca.Bundle) bool {
	x, y := a.Anchors(), b.Anchors()
	for i := range x {
		if i >= len(y) || x[i].Slot != y[i].Slot {
			return false
		}
	}
	return len(x) == len(y) && bytes.Equal(a.PEM(), b.PEM())
}

// Accepted reads the signed bundle that a replica keeps. It was checked when it was
// taken.
func Accepted(kept []byte) (*bundle.Accepted, error) {
	s, err := primary.Decode(kept)
	if err != nil {
		return nil, err
	}
	return bundle.Begin(s, sha256.Sum256(s.Payload))
}

// signedOf is the form in which the bundle is kept that was accepted among came.
func signedOf(last *bundle.Accepted, came []bundle.Signed) ([]byte, error) {
	for _, s := range came {
		if bundle.Hash(sha256.Sum256(s.Payload)) == last.Hash() {
			return primary.Encode(s)
		}
	}
	return nil, fmt.Errorf("bundle %d was accepted and did not come", last.Bundle().Sequence())
}

// Report tells the primary what this replica holds and has seen.
func (f *Follower) Report(ctx context.Context) error {
	r, err := f.Look(ctx)
	if err != nil {
		return err
	}
	if err := f.c.Source.Report(ctx, r); err != nil {
		return fmt.Errorf("reporting to the primary: %w", err)
	}
	return nil
}

// Look is what Report tells. What is stored is read before what is in force, so that a
// change between the two can only make the report say less.
func (f *Follower) Look(ctx context.Context) (rotation.Report, error) {
	held, err := f.c.Custodian.Held(ctx)
	if err != nil {
		return rotation.Report{}, err
	}
	now := f.c.Now()
	f.mu.Lock()
	plan := f.plan
	f.mu.Unlock()
	r := rotation.Report{
		Zone: f.c.Zone, Replica: f.c.Replica, Plan: plan, Epoch: held.Followed, Sequence: held.Bundle.Sequence(),
		Lease: held.Lease, Clock: now.UTC(), Version: f.c.Version, Halted: held.Halted,
	}
	if len(held.Signed) > 0 {
		at, err := Accepted(held.Signed)
		if err != nil {
			return r, err
		}
		r.BundleHash = at.Hash().String()
	}
	if f.c.Canary != nil {
		r.Canary = f.c.Canary(ctx, held.Bundle)
	}
	if i := f.c.Authority.Intermediate(); i != nil {
		r.Signer = ca.AnchorIDOf(i.Anchor())
	}
	// The signer before the leaves: those under the one before are all counted then.
	seen := f.c.Authority.Outstanding(now)
	r.Coverage, r.Live, r.HighWater = seen.Coverage, seen.Live, seen.HighWater
	// What is stored and not in force yet was given to nobody.
	if b := f.c.Authority.Bundle(); b == nil || b.Sequence() < r.Sequence {
		r.Sequence, r.BundleHash = 0, ""
		if b != nil {
			r.Sequence = b.Sequence()
		}
	}
	return r, nil
}
