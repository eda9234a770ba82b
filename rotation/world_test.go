package rotation

import "fmt"

// observe is the report that a replica would make now.
func (is member) observe() report {
	made := report{made: true, epoch: is.epoch, signer: is.signer, held: is.held, highWater: never}
	if left := is.leaf[draining(is.epoch)]; left > 0 {
		made.highWater = left
	}
	return made
}

// tick lets a unit of time pass.
func (m *model) tick(w *world) {
	older := func(n *int8, least int8) {
		if *n != never {
			*n = max(*n-1, least)
		}
	}
	for _, s := range []*planState{&w.plan, &w.slow} {
		for _, n := range []*int8{&s.highWater, &s.leaseEnd, &s.evident, &s.zones[0].lease, &s.zones[1].lease} {
			older(n, -9)
		}
		*s = m.aged(*s)
	}
	for z := range w.members {
		for r := range w.members[z] {
			is := &w.members[z][r]
			older(&is.leaf[oldAnchor], -m.skew)
			older(&is.leaf[newAnchor], -m.skew)
			older(&is.lease, -m.skew-1)
			older(&is.got.highWater, -9)
			if is.got.highWater < -m.skew {
				is.got.highWater = never
			}
			if is.state == removed {
				m.remove(is)
			}
		}
	}
	if older(&w.flying.report.highWater, -9); w.flying.report.highWater < -m.skew {
		w.flying.report.highWater = never
	}
}

// canonical makes worlds that nothing tells apart one: it sorts the replicas of a
// zone, and forgets what no phase that can follow reads.
func (m *model) canonical(w world) world {
	none := report{highWater: never}
	if !w.isSlow {
		w.slow = planState{}
	}
	if !w.flying.isOn {
		w.flying = flight{report: none}
	}
	for z := range w.members {
		for r := range w.members[z] {
			is := &w.members[z][r]
			switch phases[w.plan.phase] {
			case Done, Aborted:
				is.got, w.flying = none, flight{report: none}
			case Retiring:
				is.got.highWater = never
				if is.got.epoch != w.plan.epoch || is.got.signer != newAnchor || is.got.held[0] < w.plan.needed {
					is.got = none // it proves nothing
				}
			case Activating, Draining, Aborting:
				if !m.excludes {
					is.got.held = [modelClasses]uint8{}
				}
			}
		}
		if first, second := &w.members[z][0], &w.members[z][1]; !w.flying.isOn && less(second, first) {
			*first, *second = *second, *first
		}
	}
	return w
}

// less is any order of replicas.
func less(a, b *member) bool {
	for _, pair := range [][2]int{
		{int(a.state), int(b.state)}, {int(a.epoch), int(b.epoch)}, {int(a.signer), int(b.signer)},
		{int(a.held[0]), int(b.held[0])}, {int(a.leaf[0]), int(b.leaf[0])}, {int(a.leaf[1]), int(b.leaf[1])},
		{int(a.got.epoch), int(b.got.epoch)}, {int(a.got.signer), int(b.got.signer)}, {int(a.got.highWater), int(b.got.highWater)}, {int(a.got.held[0]), int(b.got.held[0])},
	} {
		if pair[0] != pair[1] {
			return pair[0] < pair[1]
		}
	}
	return false
}

// broken is S1: the zone whose verifiers do not have the anchor of a leaf that
// lives, and of whom.
func (m *model) broken(w *world) string {
	for a, name := range []string{"old", "new"} {
		if a == oldAnchor && w.plan.emergency > 0 {
			continue // S3 is waived
		}
		alive := false
		for z := range w.members {
			for _, is := range w.members[z] {
				alive = alive || is.leaf[a] > -m.skew
			}
		}
		if !alive {
			continue
		}
		for z := range w.members {
			if w.isExempt(z) {
				continue
			}
			for _, is := range w.members[z] {
				for _, seq := range is.held {
					if seq > 0 && w.published[seq]&(1<<a) == 0 {
						return fmt.Sprintf("a leaf under the %s anchor meets verifiers of zone %s that hold bundle %d", name, zoneName(z), seq)
					}
				}
			}
		}
	}
	return ""
}

// isExempt tells whether a zone's verifiers are not promised anything: it is excluded,
// or was removed.
func (w *world) isExempt(z int) bool {
	left := true
	for _, is := range w.members[z] {
		left = left && (is.state == removed || is.state <= absent)
	}
	return left || w.plan.zones[z].excluded
}

// remove takes a replica out. Its verifiers are dead once their leaves have ended with
// its last intermediate.
func (m *model) remove(is *member) {
	if is.state = removed; is.lease == never {
		is.lease = m.leaseLife()
	}
	if is.lease < -m.skew {
		is.held = [modelClasses]uint8{}
	}
}

// leaseLife is how long an intermediate lives that is not renewed any more.
func (m *model) leaseLife() int8 {
	if m.short {
		return leafLife
	}
	return leaseLife
}
