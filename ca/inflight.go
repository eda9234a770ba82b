package ca

import (
	"context"
	"slices"
	"sync/atomic"
)

// enter takes the snapshot in force for a request. Whoever replaces it afterwards
// finds the request in the count of the old one: a request that took a snapshot which
// was no longer in force by then lets it go again.
func (a *Authority) enter() *snapshot {
	for {
		s := a.snapshot.Load()
		s.requests.Add(1)
		if a.snapshot.Load() == s {
			return s
		}
		s.requests.Add(-1)
	}
}

// issueRequest is what somebody asks for.
type issueRequest struct {
	caller  Caller
	request Request
}

// issueUnder issues under another intermediate than the one in force, by a policy of
// its own. Everything else is that of any request, and it is in flight as one.
func (a *Authority) issueUnder(ctx context.Context, i *Intermediate, p *Policy, r issueRequest) (Issued, error) {
	a.mu.Lock()
	own := *a.snapshot.Load()
	own.requests = new(atomic.Int64)
	own.requests.Add(1)
	defer own.requests.Add(-1)
	own.intermediate, own.policy, own.caKeys = i, p, i.keyHashes(own.bundle)
	a.retire(&own)
	a.mu.Unlock()
	return a.issue(ctx, &own, r.caller, r.request)
}

// retire keeps s for as long as a request works with it. a.mu is held.
func (a *Authority) retire(s *snapshot) {
	a.retired = slices.DeleteFunc(append(a.retired, s), func(r *snapshot) bool { return r.requests.Load() == 0 })
}

// unfinishedRequests are requests that may still be answered with a leaf of another
// anchor or an older bundle than those in force.
type unfinishedRequests struct {
	*snapshot
	requests int
}

// unfinished is the snapshot in force, and what is not over under others.
func (a *Authority) unfinished() (*snapshot, []unfinishedRequests) {
	a.mu.Lock()
	defer a.mu.Unlock()
	current := a.snapshot.Load()
	var found []unfinishedRequests
	for _, s := range a.retired {
		n := int(s.requests.Load())
		if n > 0 && s.bundle != nil && s.intermediate != nil && !s.issuesLike(current) {
			found = append(found, unfinishedRequests{s, n})
		}
	}
	return current, found
}

// issuesLike tells whether leaves of s count as those of t.
func (s *snapshot) issuesLike(t *snapshot) bool {
	return t.intermediate != nil && s.intermediate.anchorID == t.intermediate.anchorID && s.bundle.seq == t.bundle.seq
}
