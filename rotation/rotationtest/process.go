package rotationtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/keystore/memory"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
	"github.com/kedge-ca/kedge/rotation/primary"
	"github.com/kedge-ca/kedge/rotation/replica"
)

// Process is an issuing process: a replica of a zone, and one of the primary where it
// is in the primary's zone. What is durable of it outlives Restart.
type Process struct {
	Zone      rotation.Zone
	Name      string
	Authority *ca.Authority
	Custodian *ca.Custodian
	Link      Link
	Down      bool          // it does nothing until it is up again
	Skew      time.Duration // of its clock
	LastError error         // of the last step

	w        *World
	dead     bool // it has crashed and is not up again yet
	follower *replica.Follower
	primary  *primary.Primary
	mail     []primary.Directive // on their way to it
	state    *catest.StateStore
	keys     ca.KeyStore
	made     *remembering // keys is it
	records  *catest.Recorder
	keyHash  [32]byte
}

func (p *Process) now() time.Time { return p.w.Clock.Now().Add(p.Skew) }

func (w *World) newProcess(zone rotation.Zone, name string) *Process {
	keys, err := memory.New(fips.ECDSAP256)
	require.NoError(w.T, err)
	made := &remembering{KeyStore: keys}
	p := &Process{
		w: w, Zone: zone, Name: name, Skew: w.skew(), Link: w.config.Link, state: &catest.StateStore{}, keys: made, made: made,
		records: &catest.Recorder{}, keyHash: sha256.Sum256([]byte(string(zone) + "/" + name + w.Clock.Now().String())),
	}
	p.state.Fault = func() (error, bool) {
		if w.acting == nil {
			return nil, false
		}
		return w.fuse.burn(p)
	}
	w.Zones[zone] = append(w.Zones[zone], p)
	return p
}

// AddPrimary adds a process of the primary that holds a bundle of anchors without a
// signed form, as ca init and a repair leave it.
func (w *World) AddPrimary(name string, anchors []ca.Anchor) *Process {
	w.T.Helper()
	p := w.newProcess(PrimaryZone, name)
	p.open(w.rootFor)
	require.NoError(w.T, p.Custodian.Initialise(w.T.Context(), p.now(), anchors))
	p.forget(w.config.Sequence)
	w.Primaries = append(w.Primaries, p)
	p.Restart()
	return p
}

// forget takes from the process what it holds of the chain: its bundle gets a sequence
// of its own.
func (p *Process) forget(sequence uint64) {
	state, version, err := p.state.Load(p.w.T.Context())
	require.NoError(p.w.T, err)
	state.BundleSeq, state.SignedBundle = sequence, nil
	_, err = p.state.Replace(p.w.T.Context(), version, state)
	require.NoError(p.w.T, err)
}

// Forget makes a process of the primary what it was before the chain began: it holds
// no signed bundle and has no bundle key.
func (p *Process) Forget(t testing.TB) {
	p.forget(p.w.config.Sequence)
	for _, name := range p.BundleKeys(t) {
		require.NoError(t, p.keys.Destroy(t.Context(), name))
	}
}

// BundleKeys are the names of the bundle keys that the process has made and kept.
func (p *Process) BundleKeys(t testing.TB) []string {
	var names []string
	for _, name := range p.made.names {
		if _, err := p.keys.Open(t.Context(), name); err == nil && strings.HasPrefix(name, "bundle-") {
			names = append(names, name)
		}
	}
	return names
}

// remembering is a key store that remembers the names of what it was asked to make.
type remembering struct {
	ca.KeyStore
	names []string
}

// Create implements ca.KeyStore.
func (k *remembering) Create(ctx context.Context, name string) (ca.Key, error) {
	k.names = append(k.names, name)
	return k.KeyStore.Create(ctx, name)
}

// open makes everything of a process that does not outlive it, and lets its authority
// remember its records.
func (p *Process) open(roots ca.RootFor) {
	w := p.w
	var err error
	p.Custodian, err = ca.NewCustodian(ca.CustodianConfig{
		TrustDomain: w.Domain, Roots: roots, Keys: p.keys, State: p.state, Events: w.Events, Policy: w.FIPS, MaxLeafTTL: LeafTTL,
	})
	require.NoError(w.T, err)
	p.Authority, err = ca.NewAuthority(ca.AuthorityConfig{FIPS: w.FIPS, Policy: w.policy, Recorder: p.records, Now: p.now})
	require.NoError(w.T, err)
	for _, r := range p.records.Records() {
		if r.NotAfter.After(p.now()) {
			p.Authority.Remember(r.LiveKey())
		}
	}
	p.primary, p.follower, p.mail = nil, nil, nil
}

// Restart opens the process from what is durable of it.
func (p *Process) Restart() {
	p.w.T.Helper()
	_ = p.w.as(p, func() error { p.restart(); return nil })
}

// restart is Restart, which a crash may cut short.
func (p *Process) restart() {
	w := p.w
	roots := ca.RootFor(w.rootFor)
	if p.Zone != PrimaryZone {
		roots = func(ctx context.Context, anchor ca.AnchorID) (ca.Root, error) {
			if p.Link.isCut(w) || w.serving() == nil {
				return nil, ca.Refuse(ca.ReasonRootUnreachable, "the primary is away")
			}
			return w.Primary().RootFor(p.Zone, p.Name)(ctx, anchor)
		}
	}
	p.open(roots)
	source := primary.Source(away{})
	if p.Zone == PrimaryZone {
		opened, err := primary.Open(w.T.Context(), p.settings())
		if p.dead {
			return
		}
		require.NoError(w.T, err)
		p.primary, source = opened, opened
	}
	var err error
	p.follower, err = replica.New(replica.Config{
		Zone: p.Zone, Replica: p.Name, Version: "test", Source: source, Custodian: p.Custodian, Authority: p.Authority,
		Upkeep: p.Upkeep, Now: p.now, Trusted: p.Zone == PrimaryZone,
	})
	require.NoError(w.T, err)
	require.NoError(w.T, p.follower.Restore(w.T.Context()))
	// What is stored comes into force at once, as at the start of ca serve.
	p.LastError = p.Upkeep(w.T.Context())
}

// settings are those of a process of the primary.
func (p *Process) settings() primary.Config {
	w := p.w
	return primary.Config{
		TrustDomain: w.Domain, Documents: w.Docs, Custodian: p.Custodian, Roots: w.rootFor, Keys: p.keys, Events: w.Events,
		Policy: w.FIPS, Zone: PrimaryZone, Replica: p.Name, Version: "test", Now: p.now, Rotation: w.config.Settings,
	}
}

// away is a source that is never reached: the harness carries directives itself.
type away struct{}

func (away) Follow(context.Context, primary.Have) (primary.Directive, error) {
	return primary.Directive{}, errors.New("not reached")
}

func (away) Report(context.Context, rotation.Report) error { return errors.New("not reached") }

// Upkeep is what ca serve does every few seconds.
func (p *Process) Upkeep(ctx context.Context) error {
	supply, err := p.Custodian.Tick(ctx, p.now(), false)
	if p.dead || supply.Bundle == nil {
		return err
	}
	if supply.Intermediate == nil {
		p.Authority.PublishBundle(supply.Bundle)
		return err
	}
	_, swapErr := p.Authority.Swap(supply.Intermediate, supply.Bundle)
	return errors.Join(err, swapErr)
}

// Restore puts an old copy of the shared documents in the place of what the processes
// of the primary have, and restarts them; with their own states as they were, as when
// only the shared store was restored.
func (w *World) Restore(backup *catest.Documents) {
	w.T.Helper()
	w.Docs = backup
	for _, p := range w.Primaries {
		p.Restart()
	}
}

// Copy is the signed bundle that the process holds, as an operator takes it from there.
func (p *Process) Copy() bundle.Signed {
	p.w.T.Helper()
	held, err := p.Custodian.Held(p.w.T.Context())
	require.NoError(p.w.T, err)
	s, err := primary.Decode(held.Signed)
	require.NoError(p.w.T, err)
	return s
}

// Join adds a replica to a zone by a token, as it is done over the network: the token
// pins the bundle in force.
func (w *World) Join(zone rotation.Zone, name string) *Process {
	w.T.Helper()
	ctx := w.T.Context()
	token, err := w.Primary().Token(ctx, zone, 0, "uid:0")
	require.NoError(w.T, err)
	p := w.newProcess(zone, name)
	answer, err := w.Primary().Join(ctx, primary.JoinRequest{Token: token, Replica: name, KeyHash: p.keyHash, Version: "test"})
	require.NoError(w.T, err)
	require.Equal(w.T, zone, answer.Zone)
	_, pinned, err := primary.SplitToken(token)
	require.NoError(w.T, err)
	at, err := bundle.Begin(answer.Bundles[0], pinned)
	require.NoError(w.T, err)
	last, err := at.Replay(answer.Bundles[1:])
	require.NoError(w.T, err)
	p.open(w.rootFor)
	require.NoError(w.T, p.Custodian.Initialise(ctx, p.now(), last.Bundle().Anchors()))
	signed, err := primary.Encode(answer.Bundles[len(answer.Bundles)-1])
	require.NoError(w.T, err)
	require.NoError(w.T, p.Custodian.Adopt(ctx, p.now(), ca.Adoption{Bundle: last.Bundle(), Signed: signed}))
	p.Restart()
	delete(w.out, zone)
	return p
}

// Remove removes a zone. Its processes go on as long as they can.
func (w *World) Remove(zone rotation.Zone) {
	w.T.Helper()
	require.NoError(w.T, w.Primary().RemoveZone(w.T.Context(), zone, "uid:0", "it is gone"))
	w.out[zone] = true
}

// Out tells that the verifiers of a zone do not count any more, because it was
// excluded; In, that they do again.
func (w *World) Out(zone rotation.Zone) { w.out[zone] = true }

// In takes back what Out said.
func (w *World) In(zone rotation.Zone) { delete(w.out, zone) }

// Link is what can go wrong between a replica and its primary, each once in so many
// times; 0 is never.
type Link struct {
	Lose, Delay, Repeat, Reorder int
	Cut                          bool // nothing goes through
	Deaf                         bool // nothing comes from the primary
	Mute                         bool // no report goes to it
}

// isCut tells whether something is lost on its way now.
func (l Link) isCut(w *World) bool {
	lost := l.Cut || w.chance.oneIn(l.Lose)
	if lost {
		w.Faults.Lost++
	}
	return lost
}

// carry brings to the replica what the primary has for it.
func (p *Process) carry(ctx context.Context) error {
	w := p.w
	if p.Link.Cut || p.Link.Deaf || p.source() == nil {
		w.Faults.Lost++
		return nil
	}
	if !p.Link.isCut(w) {
		have, err := p.follower.Have(ctx)
		if err != nil {
			return err
		}
		d, isNew, err := p.source().Directive(ctx, have)
		if err != nil {
			return err
		}
		if isNew {
			p.mail = append(p.mail, d)
			if w.chance.oneIn(p.Link.Repeat) {
				w.Faults.Repeated++
				p.mail = append(p.mail, d)
			}
		}
	}
	for len(p.mail) > 0 {
		if w.chance.oneIn(p.Link.Delay) {
			w.Faults.Delayed++
			break
		}
		n := 0
		if w.chance.oneIn(p.Link.Reorder) {
			n = w.chance.upTo(len(p.mail))
		}
		if n > 0 {
			w.Faults.Reordered++
		}
		d := p.mail[n]
		p.mail = append(p.mail[:n:n], p.mail[n+1:]...)
		if err := p.follower.Take(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// source is the primary that the replica reaches: its own process, or any that is up.
func (p *Process) source() *primary.Primary {
	if p.primary != nil {
		return p.primary
	}
	if serving := p.w.serving(); serving != nil {
		return serving.primary
	}
	return nil
}

// report sends a report, which may be lost on its way.
func (p *Process) report(ctx context.Context) error {
	r, err := p.follower.Look(ctx)
	if err != nil || p.Link.Mute || p.Link.isCut(p.w) || p.source() == nil {
		return err
	}
	return p.source().Report(ctx, r)
}

// step is everything that a process does in a step.
func (p *Process) step(ctx context.Context) error {
	if p.Down {
		return nil
	}
	return p.w.as(p, func() error {
		failed := []error{p.carry(ctx), p.Upkeep(ctx)}
		if p.dead {
			return nil
		}
		failed = append(failed, p.report(ctx))
		if p.primary != nil && !p.dead {
			if p.w.config.Leases {
				require.NoError(p.w.T, p.endLease(ctx))
			}
			failed = append(failed, p.primary.Tick(ctx))
		}
		p.LastError = errors.Join(failed...)
		return p.LastError
	})
}

// endLease lets the process believe that nobody leads.
func (p *Process) endLease(ctx context.Context) error {
	leaders := journal.NewLeadership(p.w.Docs)
	leader, err := leaders.Leader(ctx)
	if err != nil {
		return err
	}
	return leaders.GiveUp(ctx, leader.Holder, p.w.Clock.Now())
}

// Age moves the clock by a time in which nothing else happens.
func (w *World) Age(d time.Duration) { w.Clock.Advance(d) }
