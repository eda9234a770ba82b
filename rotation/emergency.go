package rotation

// turns acts on an emergency that was decided and not acted on yet. It tells whether
// the plan has moved by that.
func (v *view) turns() bool {
	e := v.plan.emergency()
	if e == nil || e.Taken {
		return false
	}
	e.Taken = true
	switch was := v.plan.Phase; {
	case e.Anchor == v.plan.New && was == Aborting:
		if e.Distrust {
			v.plan.Sequence++
			v.plan.Needed = v.plan.Sequence
		}
	case e.Anchor == v.plan.New:
		v.turnBack(e, was)
	case was == Retiring: // the old one is going already
	case e.Distrust:
		v.command(Retiring)
		v.plan.Sequence++
		v.plan.Needed = v.plan.Sequence
	case was == Aborting:
		v.command(Activating)
		v.tell()
	}
	return true
}

// turnBack aborts because of the new anchor, which leaves the bundle even when it was
// in it before.
func (v *view) turnBack(e *Emergency, was Phase) {
	v.plan.AbortedBy = Decision{e.Actor, e.Reason, e.At}
	v.plan.turnBack(v.now)
	switch {
	case was == Distributing && v.plan.NewPublished, was == Staged && v.plan.NewPublished, v.plan.Phase == Aborting && e.Distrust:
		v.plan.Sequence++
		v.plan.Needed = v.plan.Sequence
	}
	v.blockers = nil
}

// askForLeaves publishes a bundle, the same one again, once everybody signs under the
// other anchor: whose verifier holds it has a leaf of after that.
func (v *view) askForLeaves() {
	if e := v.plan.emergency(); e != nil && e.Reissued == 0 && !e.Distrust {
		v.plan.Sequence++
		e.Reissued = v.plan.Sequence
	}
}

// waived tells whether the emergency lets the anchor go before its last leaf is dead.
func (v *view) waived(e *Emergency) bool {
	if !e.Deadline.IsZero() && !v.now.Before(e.Deadline) {
		return true
	}
	if e.Reissued == 0 {
		v.askForLeaves()
		return false
	}
	if v.isEnough(e) || v.everyone(func(r Report) bool { return v.covers(r, e.Reissued) }) {
		return true
	}
	for i := range v.blockers {
		if u := v.blockers[i].Until; !e.Deadline.IsZero() && (u.IsZero() || e.Deadline.Before(u)) {
			v.blockers[i].Until = e.Deadline
		}
	}
	return false
}

// isEnough tells whether as many leaves are followed by new ones as the emergency asks
// for. Of a replica that holds an earlier bundle, or is silent, none is.
func (v *view) isEnough(e *Emergency) bool {
	live, behind := 0, 0
	for _, z := range v.plan.Zones {
		if z.Excluded != "" {
			continue
		}
		holds := v.quietly(z.Name, func(r Report) bool { return r.Sequence >= e.Reissued })
		for _, r := range v.reports[z.Name] {
			for class, c := range r.Coverage {
				live += c.Live
				switch {
				case !holds:
					behind += c.Live
				case !v.plan.confirms(z.Name, class, e.Reissued):
					behind += c.Behind
				}
			}
		}
		if !holds && len(v.reports[z.Name]) == 0 {
			return false // nobody knows how many it has
		}
	}
	return e.Percent > 0 && behind*100 <= live*(100-e.Percent)
}
