package primary

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
)

// Config is what a Primary works with. Everything but Rotation is needed.
type Config struct {
	TrustDomain ca.TrustDomain
	Documents   ca.Documents  // shared by all processes of the primary
	Custodian   *ca.Custodian // of this process's own replica
	Roots       ca.RootFor
	Keys        ca.KeyStore // of this process: its bundle key is kept there
	Events      ca.EventLog
	Policy      fips.Policy
	Zone        rotation.Zone // of the primary's own replicas
	Replica     string        // the name of this process among them
	Version     string        // of the program
	Now         func() time.Time
	Rotation    Settings
}

// Settings are how rotations are run. Zero fields have defaults.
type Settings struct {
	Lifetime  time.Duration // of an intermediate; 0 means 7 days
	LeafTTL   time.Duration // of the longest leaf; 0 means 24 h
	Skew      time.Duration // clock error that a verifier may have; 0 means 5 min
	Silent    time.Duration // a report that is older does not count; 0 means 2 min
	Mode      rotation.Mode // "" means manual
	Dwell     time.Duration // the least time in a phase, in automatic mode
	Window    rotation.Window
	Canary    bool // phases wait for handshakes with a canary
	Approvals int  // distinct operators who must approve a plan, the one who starts it included
	// Schedule starts a plan by itself when half of the active anchor's life is over.
	// Otherwise Status proposes one, and an operator starts it.
	Schedule bool
}

// Primary is one process of the primary. It is safe for concurrent use.
type Primary struct {
	c        Config
	plans    *journal.Plans
	chain    *journal.Chain
	registry *journal.Registry
	tokens   *journal.Tokens
	commands *journal.Commands
	leaders  *journal.Leadership
	keys     *journal.BundleKeys
	opened   time.Time

	mu      sync.Mutex // guards what follows; never held across I/O
	head    *bundle.Accepted
	key     ca.Key        // this process's bundle key
	changed chan struct{} // closed when there is something new to follow
	lead    bool          // as of the last Tick
	last    rotation.Outcome
	swept   time.Time
	tried   time.Time // when the schedule last started a rotation, or could not
}

// Open opens the primary: it begins the chain of bundles with the bundle that this
// process's replica holds, where there is none yet, makes the bundle key of this
// process, and registers its replica. It may be called again after a crash at any
// point of it.
func Open(ctx context.Context, c Config) (*Primary, error) {
	c.Rotation = c.Rotation.withDefaults()
	if c.TrustDomain.IsZero() || c.Documents == nil || c.Custodian == nil || c.Roots == nil || c.Keys == nil || c.Events == nil || c.Now == nil {
		return nil, fmt.Errorf("primary needs a trust domain, documents, a custodian, roots, keys, an event log and a clock")
	}
	for _, name := range []string{string(c.Zone), c.Replica} {
		if err := journal.CheckName(name); err != nil {
			return nil, err
		}
	}
	p := &Primary{
		c: c, plans: journal.NewPlans(c.Documents), chain: journal.NewChain(c.Documents),
		registry: journal.NewRegistry(c.Documents), tokens: journal.NewTokens(c.Documents),
		commands: journal.NewCommands(c.Documents), leaders: journal.NewLeadership(c.Documents),
		keys: journal.NewBundleKeys(c.Documents), changed: make(chan struct{}), opened: c.Now(),
	}
	if err := p.openKey(ctx); err != nil {
		return nil, err
	}
	if err := p.openChain(ctx); err != nil {
		return nil, err
	}
	if err := p.registry.AddZone(ctx, c.Zone, p.opened); err != nil {
		return nil, err
	}
	own := journal.Replica{Zone: c.Zone, Name: c.Replica, Version: c.Version, JoinedAt: p.opened.UTC()}
	if err := p.registry.AddReplica(ctx, own); err != nil {
		return nil, err
	}
	return p, nil
}

func (s Settings) withDefaults() Settings {
	for d, otherwise := range map[*time.Duration]time.Duration{
		&s.Lifetime: ca.IntermediateLifetime, &s.LeafTTL: ca.MaxLeafTTL, &s.Skew: 5 * time.Minute, &s.Silent: 2 * time.Minute,
	} {
		if *d == 0 {
			*d = otherwise
		}
	}
	if s.Mode == "" {
		s.Mode = rotation.ModeManual
	}
	return s
}

// holder names this process among those of the primary.
func (p *Primary) holder() string { return string(p.c.Zone) + "/" + p.c.Replica }

// notify wakes whoever follows.
func (p *Primary) notify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Primary) waiting() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// system is the actor of what nobody has asked for.
const system = "system"

// record stores an act in the audit trail, before it is done: an act that no record
// has does not happen.
func (p *Primary) record(ctx context.Context, actor, action string, detail map[string]string) error {
	e := ca.Event{At: p.c.Now().UTC(), Actor: actor, Action: action, Detail: detail}
	if err := p.c.Events.Append(ctx, e); err != nil {
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: fmt.Errorf("recording %s: %w", action, err)}
	}
	return nil
}
