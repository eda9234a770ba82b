package rotation_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kedge-ca/kedge/rotation"
)

// TestNoHandshakeFailsInAMesh checks S1 to S8 after every event of random rotations,
// and that each of them can be brought to its end.
func TestNoHandshakeFailsInAMesh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMesh(t)
		for range rapid.IntRange(20, 300).Draw(t, "events") {
			m.event()
			m.check()
		}
		m.finish()
	})
}

// event is one thing that happens; the common ones are named more than once.
func (m *mesh) event() {
	switch rapid.SampledFrom([]string{
		"work", "work", "work", "work", "work", "work", "control", "control", "control", "control", "time", "time", "time", "end", "end",
		"decide", "store", "step", "follow", "issue", "renew", "report", "late", "advance", "advance",
		"pause", "exclude", "include", "join", "remove", "restart", "observe", "abort",
	}).Draw(m.T, "event") {
	case "work":
		m.work(rapid.IntRange(0, 9).Draw(m.T, "of ten"))
	case "control":
		m.decide()
		m.store(len(m.pending) - 1)
		m.takeSteps()
	case "time":
		m.now = m.now.Add(time.Duration(rapid.IntRange(1, 6*3600).Draw(m.T, "seconds")) * time.Second)
	case "end":
		m.toAnEnd()
	case "decide":
		m.decide()
	case "store":
		if len(m.pending) > 0 {
			m.store(rapid.IntRange(0, len(m.pending)-1).Draw(m.T, "which"))
		}
	case "step":
		if len(m.steps) > 0 {
			m.apply(m.steps[rapid.IntRange(0, len(m.steps)-1).Draw(m.T, "which")])
		}
	case "follow":
		m.follow(m.one(), uint64(rapid.IntRange(1, len(m.chain)).Draw(m.T, "up to")))
	case "issue":
		m.issue(m.one(), nil)
	case "renew":
		m.renew(m.one())
	case "report":
		i := m.one()
		i.sent = append(i.sent, i.report(m.now))
	case "late":
		if i := m.one(); len(i.sent) > 0 && !i.removed {
			m.receive(i, i.sent[rapid.IntRange(0, len(i.sent)-1).Draw(m.T, "which")])
		}
	default:
		m.operate()
	}
}

// operate is what people do, rarely.
func (m *mesh) operate() {
	act := func(p rotation.Plan, err error) {
		if err == nil {
			m.swap(p)
		}
	}
	switch rapid.SampledFrom([]string{"advance", "advance", "advance", "pause", "resume", "resume", "exclude", "include", "include", "join", "remove", "restart", "observe", "abort"}).Draw(m.T, "act") {
	case "advance":
		act(m.plan.Advance("ada", m.now))
	case "pause":
		act(m.plan.Pause("ada", m.now))
	case "resume":
		act(m.plan.Resume("ada", m.now))
	case "exclude":
		zone := m.one().zone
		act(m.plan.Exclude(zone, "away", m.leaseOf(zone)))
	case "include":
		for _, z := range m.plan.Zones {
			if z.Excluded != "" {
				act(m.plan.Include(z.Name))
			}
		}
	case "join":
		m.join()
	case "remove":
		m.one().removed = true
	case "restart":
		m.one().sent = nil // what was on its way is lost
	case "observe":
		m.observe()
	case "abort":
		if rapid.IntRange(0, 3).Draw(m.T, "really") == 0 {
			act(m.plan.Abort("ada", "to see", m.now))
		}
	}
}

// toAnEnd is the moment at which a replica has just forgotten a leaf, and others may
// not: the earliest to come.
func (m *mesh) toAnEnd() {
	var first time.Time
	for _, i := range m.issuers {
		for _, l := range i.leaves {
			if forgotten := l.end.Add(-i.off); forgotten.After(m.now) && (first.IsZero() || forgotten.Before(first)) {
				first = forgotten
			}
		}
	}
	if !first.IsZero() {
		m.now = first
	}
}

func (m *mesh) one() *issuer {
	return m.issuers[rapid.IntRange(0, len(m.issuers)-1).Draw(m.T, "who")]
}

// leaseOf is when the last intermediate of a zone ends.
func (m *mesh) leaseOf(zone rotation.Zone) time.Time {
	end := m.now
	for _, i := range m.issuers {
		if i.zone == zone && i.lease.After(end) {
			end = i.lease
		}
	}
	return end
}

// join registers a replica, of a zone that is known or not, or lets one begin: with
// the head of the chain and the command of that moment.
func (m *mesh) join() {
	for _, i := range m.issuers {
		if !i.serves && !i.removed {
			i.serves, i.sequence, i.lease = true, uint64(len(m.chain)-1), m.now.Add(leaseTTL)
			i.command = m.plan.CommandFor(i.zone)
			return
		}
	}
	zone := m.one().zone
	if rapid.Bool().Draw(m.T, "new zone") {
		zone += "x"
	}
	m.register(zone)
}

// observe is somebody who publishes for another reason, in the order that Observe
// asks for.
func (m *mesh) observe() {
	if m.plan.IsOver() {
		return
	}
	for _, s := range m.plan.Steps() {
		m.apply(s)
	}
	m.swap(m.plan.Observe(m.plan.Sequence + 1))
}

func (m *mesh) renew(i *issuer) {
	var mine []*leaf
	for _, other := range m.issuers {
		if other.zone != i.zone {
			continue
		}
		for _, l := range other.leaves {
			if !l.renewed && l.end.After(m.now.Add(i.off)) {
				mine = append(mine, l)
			}
		}
	}
	if len(mine) > 0 {
		m.issue(i, mine[rapid.IntRange(0, len(mine)-1).Draw(m.T, "which")])
	}
}

func (m *mesh) receive(i *issuer, r rotation.Report) {
	r.Received = m.now
	r.Clock = m.now.Add(i.off)
	i.got = r
}

// work is a while in which most replicas follow, issue, renew and report; share of ten
// do not.
func (m *mesh) work(share int) {
	for n, i := range m.issuers {
		if (n*7+m.version)%10 < share {
			continue
		}
		m.follow(i, uint64(len(m.chain)))
		if n%3 == 0 {
			m.issue(i, nil)
		} else {
			m.renew(i)
		}
		if i.serves && !i.removed {
			m.receive(i, i.report(m.now))
		}
	}
}

func (m *mesh) takeSteps() {
	for _, s := range m.steps {
		m.apply(s)
	}
	m.steps = m.steps[:min(len(m.steps), 20)] // any may be taken again
}

// finish lets everybody answer: the plan has to come to its end (L1).
func (m *mesh) finish() {
	for range 200 {
		if m.plan.IsOver() {
			return
		}
		for _, i := range m.issuers {
			if !i.serves && !i.removed {
				m.join()
			}
		}
		m.work(0)
		for _, change := range []func() (rotation.Plan, error){
			func() (rotation.Plan, error) { return m.plan.Resume("ada", m.now) },
			func() (rotation.Plan, error) { return m.plan.Advance("ada", m.now) },
		} {
			if p, err := change(); err == nil {
				m.swap(p)
			}
		}
		m.decide()
		m.store(len(m.pending) - 1)
		m.steps = append(m.steps, m.plan.Steps()...)
		m.takeSteps()
		m.check()
		m.now = m.now.Add(3 * time.Hour)
		m.check()
	}
	m.Fatalf("L1: no end, in %s: %v", m.plan.Phase, m.plan.Next(m.now, m.reports()).Blockers)
}
