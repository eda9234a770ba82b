package authn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

const (
	// loadTimeout bounds one load. It is below the deadline of a request, so that
	// a request that waits for keys is answered Unavailable rather than cut off.
	loadTimeout = 5 * time.Second
	// demandGap is the least time between two loads that requests cause. It is
	// the negative cache of all unknown key ids at once: within it, an id that is
	// not in the set is unknown, whoever asks and however many ids are tried.
	demandGap = 10 * time.Second
	// maxWaiting bounds the requests that wait for a load; more are told to retry.
	maxWaiting = 64
	// firstRetry is the pause after a failed load; it doubles up to the refresh.
	firstRetry = time.Second
)

// loader reads a JWKS. load returns nil without an error when the set is still
// the one that was accepted last. One load runs at a time.
type loader interface {
	load(ctx context.Context) ([]byte, error)
	accept()
}

// keySource keeps the keys of one issuer fresh. Looking a key up takes no lock.
// The last good set stays in force through an outage, for ever or for maxAge.
type keySource struct {
	name    string
	from    string // identifies where the keys come from, for take-over
	loader  loader
	policy  fips.Policy
	now     func() time.Time
	refresh time.Duration // 0: the set never changes
	gap     time.Duration
	maxAge  time.Duration // 0: for ever

	current atomic.Pointer[loadedKeys]
	waiting atomic.Int32

	mu     sync.Mutex // guards what follows; never held across I/O
	flight chan struct{}
	closed bool
	stats  KeyStats
	stop   chan struct{} // closed with the source
}

// loadedKeys is an immutable snapshot.
type loadedKeys struct {
	set *keySet
	at  time.Time // when it was last seen to be the issuer's
}

// find returns the keys of an id. An id that is not there causes a load, at most
// one in demandGap. Errors are an *ca.Error: ReasonTokenKeyUnknown only if the
// newest load worked and does not hold the id, else ReasonKeysUnavailable.
func (s *keySource) find(ctx context.Context, id string) ([]verificationKey, error) {
	if keys := s.lookUp(id); keys != nil {
		return keys, nil
	}
	waitErr := s.loadOnDemand(ctx)
	if keys := s.lookUp(id); keys != nil {
		return keys, nil
	}
	if waitErr != nil {
		return nil, ca.Refuse(ca.ReasonKeysUnavailable, "keys of %s: %w", s.name, waitErr)
	}
	return nil, s.absent(id)
}

func (s *keySource) lookUp(id string) []verificationKey {
	loaded := s.current.Load()
	if loaded == nil || s.tooOld(loaded) {
		return nil
	}
	return loaded.set.keys[id]
}

func (s *keySource) tooOld(l *loadedKeys) bool {
	return s.maxAge > 0 && s.now().Sub(l.at) > s.maxAge
}

// absent says why there is no key of an id after a load.
func (s *keySource) absent(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.UnknownKeyIDs++
	loaded := s.current.Load()
	switch {
	case loaded == nil:
		return ca.Refuse(ca.ReasonKeysUnavailable, "no keys of %s: %s", s.name, s.stats.LastError)
	case s.tooOld(loaded):
		return ca.Refuse(ca.ReasonKeysUnavailable, "keys of %s are from %s: %s", s.name, loaded.at.UTC().Format(time.RFC3339), s.stats.LastError)
	case loaded.set.size == 0:
		return ca.Refuse(ca.ReasonKeysUnavailable, "%s publishes no usable key", s.name)
	case s.stats.LastError != "":
		// The key may be a new one that an outage hides: no fault of the caller.
		return ca.Refuse(ca.ReasonKeysUnavailable, "key of %s may be new: %s", s.name, s.stats.LastError)
	}
	return ca.Refuse(ca.ReasonTokenKeyUnknown, "%s has no key %q", s.name, clip([]byte(id)))
}

// loadOnDemand waits for a load that is under way, or starts one if the last is
// long enough ago.
func (s *keySource) loadOnDemand(ctx context.Context) error {
	if s.refresh == 0 {
		return nil
	}
	if s.waiting.Add(1) > maxWaiting {
		s.waiting.Add(-1)
		return errWaiting
	}
	defer s.waiting.Add(-1)
	done, _ := s.begin(s.gap)
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin starts a load unless one is under way, and returns what is closed at its
// end and whether it was started here; nil if the last began less than gap ago or
// the source is closed.
func (s *keySource) begin(gap time.Duration) (done <-chan struct{}, started bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight, false
	}
	now := s.now()
	if s.closed || gap > 0 && !s.stats.LastAttempt.IsZero() && now.Sub(s.stats.LastAttempt) < gap {
		return nil, false
	}
	s.stats.LastAttempt = now
	s.stats.Loads++
	flight := make(chan struct{})
	s.flight = flight
	go func() {
		defer close(flight)
		s.loadOnce()
	}()
	return flight, true
}

// loadOnce has a context of its own, because a load outlives the request that
// caused it: others wait for it too.
func (s *keySource) loadOnce() {
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	err := s.loadInto(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = nil
	if err == nil {
		s.stats.LastError, s.stats.Failures = "", 0
		return
	}
	s.stats.LastError = err.Error()
	s.stats.Failures++
}

// loadInto loads the set and swaps it in. A set that cannot be read changes
// nothing; an empty one is the issuer's word that no key is good any more.
func (s *keySource) loadInto(ctx context.Context) error {
	text, err := s.loader.load(ctx)
	if err != nil {
		return err
	}
	next := &loadedKeys{at: s.now()}
	if last := s.current.Load(); text == nil && last != nil {
		next.set = last.set
	} else if next.set, err = parseKeySet(text, s.policy); err != nil {
		return err
	}
	s.loader.accept()
	s.current.Store(next)
	return nil
}

// keepFresh waits for the first load, if one was begun, and then loads at every
// refresh, sooner after a failure, until the source is closed.
func (s *keySource) keepFresh(loading <-chan struct{}) {
	for {
		if loading != nil {
			select {
			case <-loading:
			case <-s.stop:
				return
			}
		}
		timer := time.NewTimer(s.pause())
		select {
		case <-timer.C:
		case <-s.stop:
			timer.Stop()
			return
		}
		loading, _ = s.begin(0)
	}
}

// pause is how long to wait for the next load.
func (s *keySource) pause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats.Failures == 0 {
		return s.refresh
	}
	return min(s.refresh, firstRetry<<min(s.stats.Failures-1, 16))
}

// reload loads now, whatever the gap, and returns what went wrong. A load that
// was under way may have read what was there before, so another follows it.
func (s *keySource) reload(ctx context.Context) error {
	if s.refresh == 0 {
		return nil
	}
	for started := false; !started; {
		var done <-chan struct{}
		if done, started = s.begin(0); done == nil {
			return errClosed
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.lastError()
}

// close lets a load that is under way end by itself, within loadTimeout: a
// request that came before a reload may be waiting for it.
func (s *keySource) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
}
