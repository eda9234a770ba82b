package simulate

import (
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// kind is what consumers of a cohort have in common.
type kind struct {
	anchor   ca.AnchorID
	sequence uint64 // of the bundle that came with the leaf; 0 for those who are pushed theirs
}

// cohort counts consumers of one kind by the step in which they renew, and those who
// vanished by the step in which their leaf ends.
type cohort struct {
	kind
	due, ghosts   []uint16 // rings
	live, ghostly int
	last          int // the last step in which one was signed
}

// replica issues to its consumers.
type replica struct {
	s       *run
	name    string
	zone    int
	cohorts []*cohort
	issued  [2][]uint16 // by anchor, in each step of a leaf's life
	living  [2]int      // their sums: leaves that have not ended
	last    [2]int      // the step of the last; -1 for none
	pushed  int         // consumers that are pushed bundles
	behind  int         // of them, those that have not acknowledged the one that is held
	acked   uint64      // what those behind hold
	command ca.Command
	held    uint64
	lease   int // step at which its intermediate ends
	report  rotation.Report
	rate    int // certificates in this step
	// isReissued is set once an emergency's renewals were asked for.
	isReissued bool
}

func newReplica(s *run, zone int, name string) *replica {
	r := &replica{
		s: s, zone: zone, name: name, held: s.first, acked: s.first, lease: s.leaseSteps - s.random.below(s.leaseSteps/2),
		command: ca.Command{Signer: oldAnchor, Epoch: 1}, last: [2]int{-1, -1},
	}
	r.issued = [2][]uint16{make([]uint16, s.ttl), make([]uint16, s.ttl)}
	consumers := s.scenario.Consumers / s.scenario.Replicas
	r.pushed = s.random.of(consumers, s.scenario.Push)
	// All have a leaf, of some moment within the last life.
	for n := range consumers {
		k := kind{oldAnchor, s.first}
		if n < r.pushed {
			k.sequence = 0
		}
		age := s.random.below(s.renew)
		c := r.cohort(k)
		c.due[(s.renew-age)%s.ttl]++
		c.live++
		r.issued[0][(s.ttl-age)%s.ttl]++
		r.living[0]++
		c.last = 0
	}
	r.last[0] = 0
	r.report = rotation.Report{
		Zone: s.zones[zone].name, Replica: name, Coverage: map[ca.VerifierClass]ca.Coverage{},
		Live: map[ca.AnchorID]int{}, HighWater: map[ca.AnchorID]time.Time{},
	}
	return r
}

func (r *replica) cohort(k kind) *cohort {
	for _, c := range r.cohorts {
		if c.kind == k {
			return c
		}
	}
	c := &cohort{kind: k, due: make([]uint16, r.s.ttl), ghosts: make([]uint16, r.s.ttl)}
	r.cohorts = append(r.cohorts, c)
	return c
}

// live lets a step pass: leaves end, consumers renew or vanish.
func (r *replica) live(canIssue bool) {
	s := r.s
	slot := s.step % s.ttl
	for a := range r.issued {
		r.living[a] -= int(r.issued[a][slot])
		r.issued[a][slot] = 0
	}
	r.rate = 0
	if s.step == r.lease {
		r.expire()
	}
	for _, c := range r.cohorts {
		c.ghostly -= int(c.ghosts[slot])
		c.ghosts[slot] = 0
		n := int(c.due[slot])
		if n == 0 {
			continue
		}
		c.due[slot] = 0
		if !canIssue || s.step >= r.lease {
			r.postpone(c, n)
			continue
		}
		free := max(s.capacity-r.rate, 0)
		if n > free {
			r.postpone(c, n-free)
			n = free
		}
		c.live -= n
		vanish := s.random.of(n, s.scenario.Churn)
		c.ghosts[(s.step+s.ttl-s.renew)%s.ttl] += uint16(vanish)
		c.ghostly += vanish
		r.issue(n, c.sequence == 0)
	}
	r.forget()
}

// expire ends all leaves with the intermediate that signed them.
func (r *replica) expire() {
	for a := range r.issued {
		clear(r.issued[a])
		r.living[a] = 0
	}
	for _, c := range r.cohorts {
		clear(c.ghosts)
		c.ghostly, c.last = 0, r.s.step-r.s.ttl
	}
}

// postpone lets consumers try again in the next step.
func (r *replica) postpone(c *cohort, n int) { c.due[(r.s.step+1)%r.s.ttl] += uint16(n) }

// issue signs n leaves.
func (r *replica) issue(n int, isPushed bool) {
	if n == 0 {
		return
	}
	s := r.s
	k := kind{r.command.Signer, r.held}
	if isPushed {
		k.sequence = 0
	}
	c := r.cohort(k)
	for range n {
		at := s.step + s.renew - s.jitter + s.random.below(2*s.jitter+1)
		c.due[at%s.ttl]++
	}
	c.live += n
	c.last = s.step
	a := index(r.command.Signer)
	r.issued[a][s.step%s.ttl] += uint16(n)
	r.living[a] += n
	r.last[a] = s.step
	r.rate += n
}

// forget drops cohorts that nobody is in.
func (r *replica) forget() {
	kept := r.cohorts[:0]
	for _, c := range r.cohorts {
		if c.live > 0 || c.ghostly > 0 {
			kept = append(kept, c)
		}
	}
	clear(r.cohorts[len(kept):])
	r.cohorts = kept
}

// pull asks the holders of leaves under other anchors for a renewal within spread
// steps, and a storm does so for a share of all.
func (r *replica) pull(share float64, spread int, all bool) {
	s := r.s
	for _, c := range r.cohorts {
		if c.anchor == r.command.Signer && !all {
			continue
		}
		moved := 0
		for i, n := range c.due {
			take := s.random.of(int(n), share)
			c.due[i] -= uint16(take)
			moved += take
		}
		for range moved {
			at := s.step + 1 + s.random.below(spread)
			c.due[at%s.ttl]++
		}
	}
}

// hear takes what the primary says.
func (r *replica) hear() {
	s := r.s
	if s.head > r.held {
		// Who had not acknowledged the one before holds an earlier one still.
		if r.behind == 0 {
			r.acked = r.held
		}
		r.held, r.behind = s.head, r.pushed
	}
	r.behind = s.random.of(r.behind, 1-s.reach)
	if r.behind == 0 {
		r.acked = r.held
	}
	r.reissue()
	if r.lease-s.step < s.leaseSteps/2 && !s.zones[r.zone].isExcluded {
		r.lease = s.step + s.leaseSteps
	}
	c := s.commands[r.zone]
	if c.Epoch <= r.command.Epoch || s.bundles[r.held].lacks(c.Signer) || s.zones[r.zone].isExcluded {
		return
	}
	turns := c.Signer != r.command.Signer
	r.command, r.lease = c, s.step+s.leaseSteps
	if turns && s.scenario.Reissue {
		r.pull(1, s.spread, false)
	}
}

// reissue asks everybody for a renewal once the bundle of an emergency has come, which
// counts who has a leaf of after that.
func (r *replica) reissue() {
	if e := r.s.plan.Emergency; r.s.scenario.Reissue && !r.isReissued && e != nil && e.Reissued > 0 && r.held >= e.Reissued {
		r.isReissued = true
		r.pull(1, r.s.spread, true)
	}
}

// tell makes the report of this step.
func (r *replica) tell(now time.Time) {
	s := r.s
	one := &r.report
	one.Epoch, one.Signer, one.Sequence, one.Received, one.Clock = r.command.Epoch, r.command.Signer, r.held, now, now
	one.Lease = s.at(r.lease)
	for a, anchor := range anchors {
		delete(one.HighWater, anchor)
		if end := r.last[a] + s.ttl; r.last[a] >= 0 && end > s.step {
			one.HighWater[anchor] = s.at(end)
		}
		one.Live[anchor] = r.living[a]
	}
	delete(one.Coverage, ca.ClassRenewal)
	delete(one.Coverage, ca.ClassPush)
	c := ca.Coverage{Sequence: r.held}
	for _, of := range r.cohorts {
		if of.sequence == 0 || of.last+s.ttl <= s.step {
			continue
		}
		c.Live += of.live + of.ghostly
		if of.sequence < r.held {
			c.Behind += of.live + of.ghostly
			c.Sequence = min(c.Sequence, of.sequence)
			if end := s.at(of.last + s.ttl); end.After(c.Oldest) {
				c.Oldest = end
			}
		}
	}
	if c.Live > 0 {
		one.Coverage[ca.ClassRenewal] = c
	}
	if r.pushed > 0 {
		c := ca.Coverage{Sequence: r.held, Live: r.pushed, Behind: r.behind}
		if r.behind > 0 {
			c.Sequence = r.acked
		}
		one.Coverage[ca.ClassPush] = c
	}
}
