package rotation_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// mesh is a larger world than the search's, at random: 3 to 50 zones, clocks that are
// off by ten minutes, replicas that restart, join and leave, verifiers with leaves of
// their own, and two controllers.
type mesh struct {
	*rapid.T
	now      time.Time
	skew     time.Duration
	chain    []map[ca.AnchorID]bool // what each bundle has; the index is the sequence
	plan     rotation.Plan
	version  int
	pending  []pending // what controllers have decided and not stored
	steps    []rotation.Step
	commands map[rotation.Zone]ca.Command
	issuers  []*issuer
}

// pending is a decision of a controller that was overtaken, maybe.
type pending struct {
	version int
	out     rotation.Outcome
}

// issuer is a replica and the verifiers that it last served.
type issuer struct {
	zone     rotation.Zone
	name     string
	off      time.Duration // its clock
	serves   bool          // it has begun
	removed  bool
	command  ca.Command
	sequence uint64
	lease    time.Time
	leaves   []*leaf
	got      rotation.Report // what the primary has
	sent     []rotation.Report
}

// leaf is one that was signed, with what its holder verifies by.
type leaf struct {
	anchor  ca.AnchorID
	end     time.Time
	bundle  uint64        // that the holder has
	off     time.Duration // the holder's clock
	renewed bool          // its holder has another, and proved that with this one
}

const (
	leafTTL  = 24 * time.Hour
	leaseTTL = 7 * 24 * time.Hour
)

func newMesh(t *rapid.T) *mesh {
	m := &mesh{T: t, now: start, skew: 10 * time.Minute, commands: map[rotation.Zone]ca.Command{}}
	s := begin()
	s.Skew, s.Sequence, s.Zones = m.skew, 1, nil
	s.Mode = rapid.SampledFrom([]rotation.Mode{rotation.ModeAuto, rotation.ModeManual}).Draw(t, "mode")
	s.Dwell = rapid.SampledFrom([]time.Duration{0, 3 * time.Hour}).Draw(t, "dwell")
	m.chain = []map[ca.AnchorID]bool{nil, {oldID: true}}
	if rapid.Bool().Draw(t, "standby") {
		m.chain = append(m.chain, map[ca.AnchorID]bool{oldID: true, newID: true})
		s.Standby, s.Sequence = 2, 2
	}
	for z := range rapid.IntRange(3, 50).Draw(t, "zones") {
		zone := rotation.Zone(fmt.Sprintf("z%02d", z))
		s.Zones = append(s.Zones, zone)
		m.commands[zone] = ca.Command{Signer: oldID, Epoch: 7}
		for range rapid.IntRange(1, 3).Draw(t, "replicas") {
			i := m.register(zone)
			i.serves, i.sequence, i.command, i.lease = true, 1, m.commands[zone], m.now.Add(leaseTTL)
		}
	}
	plan, err := rotation.New(s, m.now)
	if err != nil {
		t.Fatal(err)
	}
	m.plan = plan
	return m
}

func (m *mesh) register(zone rotation.Zone) *issuer {
	limit := int(m.skew / time.Second)
	if m.plan.Mode != rotation.ModeManual {
		limit /= 2 // further off, and an automatic plan waits
	}
	i := &issuer{zone: zone, name: fmt.Sprintf("r%03d", len(m.issuers)), off: m.clock(limit)}
	i.got = rotation.Report{Zone: zone, Replica: i.name}
	m.issuers = append(m.issuers, i)
	return i
}

// clock is how far one is off, at most limit seconds.
func (m *mesh) clock(limit int) time.Duration {
	return time.Duration(rapid.IntRange(-limit, limit).Draw(m.T, "clock")) * time.Second
}

// report is what an issuer says of itself, by its own clock.
func (i *issuer) report(now time.Time) rotation.Report {
	clock := now.Add(i.off)
	r := rotation.Report{
		Zone: i.zone, Replica: i.name, Epoch: i.command.Epoch, Signer: i.command.Signer, Sequence: i.sequence, Lease: i.lease, Clock: clock,
		Coverage: map[ca.VerifierClass]ca.Coverage{}, HighWater: map[ca.AnchorID]time.Time{}, Live: map[ca.AnchorID]int{},
	}
	c := ca.Coverage{Sequence: math.MaxUint64}
	for _, l := range i.leaves {
		if !l.end.After(clock) {
			continue
		}
		c.Live++
		r.Live[l.anchor]++
		if l.end.After(r.HighWater[l.anchor]) {
			r.HighWater[l.anchor] = l.end
		}
		if !l.renewed {
			c.Sequence = min(c.Sequence, l.bundle)
		}
	}
	if c.Live > 0 {
		r.Coverage[ca.ClassRenewal] = c
	}
	return r
}

// reports are those that the primary has.
func (m *mesh) reports() []rotation.Report {
	var all []rotation.Report
	for _, i := range m.issuers {
		r := i.got
		if i.removed {
			r.Removed, r.Lease = true, i.lease
		}
		all = append(all, r)
	}
	return all
}

// decide is a controller that looks, and stores later.
func (m *mesh) decide() {
	out := m.plan.Next(m.now, m.reports())
	if out.Plan.Phase == m.plan.Phase && !m.plan.IsOver() && len(out.Blockers) == 0 && len(out.Plan.Zones) == len(m.plan.Zones) &&
		out.Plan.Sequence == m.plan.Sequence && out.Plan.HighWater.Equal(m.plan.HighWater) && out.Plan.Evident.Equal(m.plan.Evident) &&
		slices.Equal(out.Plan.Zones, m.plan.Zones) && out.Plan.LeaseEnd.Equal(m.plan.LeaseEnd) {
		m.Fatalf("L2: nothing moves in %s, and nothing is named", m.plan.Phase)
	}
	m.pending = append(m.pending, pending{m.version, out})
}

// store is a compare-and-swap, and what follows from one that succeeds.
func (m *mesh) store(i int) {
	p := m.pending[i]
	m.pending = slices.Delete(m.pending, i, i+1)
	if p.version == m.version {
		m.swap(p.out.Plan)
		m.steps = append(m.steps, p.out.Steps...)
	}
}

func (m *mesh) swap(next rotation.Plan) {
	if next.Sequence < m.plan.Sequence || next.Epoch < m.plan.Epoch {
		m.Fatalf("S4, S5: from %d and %d to %d and %d", m.plan.Sequence, m.plan.Epoch, next.Sequence, next.Epoch)
	}
	m.plan = next
	m.version++
}

// apply takes a step, which may be late.
func (m *mesh) apply(s rotation.Step) {
	if c := s.Command; c.Epoch > m.commands[c.Zone].Epoch {
		m.commands[c.Zone] = c.Command
	}
	for pub := s.Publish; uint64(len(m.chain)) <= pub.Sequence; {
		next := maps.Clone(m.chain[len(m.chain)-1])
		for _, a := range pub.With {
			next[a] = true
		}
		for _, a := range pub.Without {
			delete(next, a)
		}
		if len(next) == 0 || !next[pub.Active] {
			m.Fatalf("S4: bundle %d is empty", len(m.chain))
		}
		m.chain = append(m.chain, next)
	}
}

// follow lets an issuer hear of the primary: part of the chain, and its command.
func (m *mesh) follow(i *issuer, upTo uint64) {
	if i.removed || !i.serves {
		return
	}
	i.sequence = max(i.sequence, min(upTo, uint64(len(m.chain)-1)))
	if c := m.commands[i.zone]; c.Epoch > i.command.Epoch && m.chain[i.sequence][c.Signer] && !m.isExcluded(i.zone) {
		i.command = c
		i.lease = m.now.Add(leaseTTL)
	}
	if !m.isExcluded(i.zone) && m.now.Add(leaseTTL/2).After(i.lease) {
		i.lease = m.now.Add(leaseTTL)
	}
}

// issue signs a leaf for a new holder, or for one that has one and proves it.
func (m *mesh) issue(i *issuer, before *leaf) {
	clock := m.now.Add(i.off)
	if !i.serves || !i.lease.After(m.now.Add(time.Minute)) {
		return
	}
	l := &leaf{anchor: i.command.Signer, end: clock.Add(leafTTL), bundle: i.sequence, off: m.clock(int(m.skew / time.Second))}
	if l.end.After(i.lease) {
		l.end = i.lease // S6
	}
	if before != nil {
		l.off, l.bundle = before.off, max(before.bundle, i.sequence)
		before.bundle, before.renewed = l.bundle, slices.Contains(i.leaves, before)
	}
	i.leaves = append(i.leaves, l)
}

func (m *mesh) isExcluded(zone rotation.Zone) bool {
	return slices.ContainsFunc(m.plan.Zones, func(z rotation.ZoneState) bool { return z.Name == zone && z.Excluded != "" })
}

// isGone tells whether nobody serves a zone any more.
func (m *mesh) isGone(zone rotation.Zone) bool {
	return !slices.ContainsFunc(m.issuers, func(i *issuer) bool { return i.zone == zone && !i.removed })
}

// check is S1 and S3: what lives at some clock verifies at everybody's.
func (m *mesh) check() {
	last := map[ca.AnchorID]time.Time{}
	for _, i := range m.issuers {
		i.leaves = slices.DeleteFunc(i.leaves, func(l *leaf) bool { return l.end.Before(m.now.Add(-2 * m.skew)) })
		for _, l := range i.leaves {
			if l.end.After(last[l.anchor]) {
				last[l.anchor] = l.end
			}
		}
	}
	for _, i := range m.issuers {
		if m.isExcluded(i.zone) || m.isGone(i.zone) {
			continue
		}
		for _, l := range i.leaves {
			clock := m.now.Add(l.off)
			if l.renewed || l.end.Before(clock) {
				continue
			}
			for anchor, end := range last {
				if !end.Before(clock) && !m.chain[l.bundle][anchor] {
					m.Fatalf("S1: in %s a verifier of zone %s (%s) holds bundle %d, and a leaf under %.8s lives for %s", m.plan.Phase, i.zone, i.name, l.bundle, anchor, end.Sub(clock))
				}
			}
		}
	}
}
