package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/ca"
)

// Source is where a workload's certificates come from; *client.Client is one.
// Issue gets the first, and one after a certificate that has ended.
type Source interface {
	Issue(ctx context.Context) (*client.Certificate, error)
	client.Renewer
	client.Watcher
}

// Workload is an identity and the processes that have it.
type Workload struct {
	Identity ca.Identity
	Selector Selector
	Source   Source
}

// Config is what an agent needs.
type Config struct {
	TrustDomain ca.TrustDomain
	Workloads   []Workload
	Digest      func(pid int32) (Digest, error) // DigestOf
	Now         func() time.Time
	// Events is told what happens.
	Events Events
}

// Events is told of certificates as they come and of failures. It is called by
// several goroutines at once.
type Events interface {
	Renewed(c *client.Certificate)
	Failed(identity ca.Identity, err error, next time.Time)
}

// Agent holds certificates. It is safe for concurrent use.
type Agent struct {
	domain    ca.TrustDomain
	workloads []Workload
	digest    func(int32) (Digest, error)
	now       func() time.Time
	events    Events

	mu    sync.Mutex // of those who change state
	state atomic.Pointer[state]
}

// state is what is held at one moment; it never changes.
type state struct {
	held    map[ca.Identity]*client.Certificate
	bundle  *Bundle       // nil before the first
	changed chan struct{} // closed when another state has taken its place
}

// Bundle is the trust anchors of the agent's trust domain. It is never empty.
type Bundle struct {
	Sequence uint64
	Anchors  []*x509.Certificate // in canonical order
}

// New checks c.
func New(c Config) (*Agent, error) {
	if c.TrustDomain.IsZero() || c.Digest == nil || c.Now == nil || c.Events == nil {
		return nil, errors.New("agent: it needs a trust domain, a way to read executables, a clock and somebody to tell")
	}
	if len(c.Workloads) == 0 {
		return nil, errors.New("agent: there are no workloads")
	}
	seen := map[ca.Identity]bool{}
	for _, w := range c.Workloads {
		switch {
		case !w.Identity.MemberOf(c.TrustDomain):
			return nil, fmt.Errorf("agent: %s is not of the trust domain %s", w.Identity, c.TrustDomain)
		case seen[w.Identity]:
			return nil, fmt.Errorf("agent: %s is there twice", w.Identity)
		case w.Selector.isEmpty():
			return nil, fmt.Errorf("agent: nothing selects the processes of %s", w.Identity)
		case w.Source == nil:
			return nil, fmt.Errorf("agent: %s has no source", w.Identity)
		}
		seen[w.Identity] = true
	}
	a := &Agent{domain: c.TrustDomain, workloads: slices.Clone(c.Workloads), digest: c.Digest, now: c.Now, events: c.Events}
	a.state.Store(&state{changed: make(chan struct{})})
	return a, nil
}

// TrustDomain is that of all workloads.
func (a *Agent) TrustDomain() ca.TrustDomain { return a.domain }

// Run gets certificates for all workloads and keeps them fresh until ctx ends. A
// workload whose certificate does not come holds up no other.
func (a *Agent) Run(ctx context.Context) error {
	var working sync.WaitGroup
	failed := make([]error, len(a.workloads))
	for i, w := range a.workloads {
		working.Go(func() { failed[i] = (&holder{agent: a, workload: w}).run(ctx) })
	}
	working.Wait()
	return errors.Join(failed...)
}

// Grant is what some identities may have at one moment.
type Grant struct {
	Certificates []*client.Certificate // in the order asked for; those that have not come are missing
	Bundle       *Bundle               // nil before the first
}

// Equal tells whether g and o hold the same.
func (g Grant) Equal(o Grant) bool {
	return g.Bundle == o.Bundle && slices.Equal(g.Certificates, o.Certificates)
}

// Grant is what identities may have now, and a channel that is closed when anything
// may have changed.
func (a *Agent) Grant(identities []ca.Identity) (Grant, <-chan struct{}) {
	s := a.state.Load()
	g := Grant{Bundle: s.bundle}
	for _, id := range identities {
		if c := s.held[id]; c != nil {
			g.Certificates = append(g.Certificates, c)
		}
	}
	return g, s.changed
}

// hold puts c, if it is not nil, and a bundle that is newer than the one there in the
// place of what is held.
func (a *Agent) hold(id ca.Identity, c *client.Certificate, bundle Bundle) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.state.Load()
	next := &state{held: old.held, bundle: old.bundle, changed: make(chan struct{})}
	if c != nil {
		next.held = maps.Clone(old.held)
		if next.held == nil {
			next.held = map[ca.Identity]*client.Certificate{}
		}
		next.held[id] = c
	}
	if old.bundle == nil || bundle.Sequence > old.bundle.Sequence {
		next.bundle = &bundle
	} else if c == nil {
		return // nothing is new
	}
	a.state.Store(next)
	close(old.changed)
}
