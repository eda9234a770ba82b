package rotation

import "time"

// Publication is how the bundle in force is to change by this plan, as of its phase:
// zero while it has published nothing.
func (p Plan) Publication() Publication {
	if p.Phase == Staged || p.Sequence <= p.First {
		return Publication{}
	}
	return p.publication()
}

// Reconstructed is a plan of a journal that was an old copy of itself, once the zones
// have shown the phase, and the highest epoch that any of them follows. Nothing moves
// by itself then: it is manual, and all zones are told anew where they have been told
// before.
func (p Plan) Reconstructed(phase Phase, epoch uint64, now time.Time) Plan {
	if p.IsOver() {
		return p
	}
	next := p.clone()
	if phase != p.Phase {
		next.Phase, next.Since, next.HighWater = phase, now, time.Time{}
		for i := range next.Zones {
			next.Zones[i].Commanded = false
		}
	}
	next.Epoch = max(p.Epoch, epoch)
	if next.Phase != Staged && next.Phase != Distributing {
		next.Epoch++
	}
	next.Advanced = ""
	return next.Distrusted("its journal was an old copy, and was put right from what the zones show")
}
