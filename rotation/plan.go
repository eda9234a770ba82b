package rotation

import (
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Phase is where a plan is.
type Phase string

// The phases, in the order of a plan that succeeds; Aborting leaves it for Aborted.
const (
	Staged       Phase = "staged"       // the new anchor is in no bundle, or in no bundle that was waited for
	Distributing Phase = "distributing" // the bundle has both; nobody signs under the new
	Activating   Phase = "activating"   // zone by zone, signing moves to the new
	Draining     Phase = "draining"     // the leaves under the old die or are renewed
	Retiring     Phase = "retiring"     // the bundle without the old is on its way
	Done         Phase = "done"
	Aborting     Phase = "aborting" // signing moves back to the old, the leaves under the new die
	Aborted      Phase = "aborted"  // the bundle has the old alone
)

// Zone is the name of a zone.
type Zone string

// ZoneState is what a plan knows of a zone that takes part.
type ZoneState struct {
	Name Zone `json:"name"`
	// Excluded is why the operator goes on without it; "" if it takes part. It
	// enrols again when it returns.
	Excluded string `json:"excluded,omitempty"`
	// Lease is when the last intermediate of an excluded zone ends.
	Lease time.Time `json:"lease,omitzero"`
	// Commanded is set once the zone was told to sign under the new anchor.
	Commanded bool `json:"commanded,omitempty"`
}

// Plan is one rotation. It is a value: Next returns another.
type Plan struct {
	ID    string      `json:"id"`
	Old   ca.AnchorID `json:"old"`
	New   ca.AnchorID `json:"new"`
	Phase Phase       `json:"phase"`
	// Since is when the phase began.
	Since time.Time `json:"since"`
	// Epoch is the number of the last command to sign; zones refuse a lower one.
	Epoch uint64 `json:"epoch"`
	// Sequence is that of the bundle which zones must hold now.
	Sequence uint64 `json:"sequence"`
	// First is the sequence that was in force before the plan.
	First uint64      `json:"first"`
	Zones []ZoneState `json:"zones"` // in the order in which they are activated, the canary first
	// HighWater bounds the end of every leaf under the anchor that drains: the latest
	// that any zone reported, never lowered.
	HighWater time.Time `json:"high_water,omitzero"`
	// Skew is the clock error that a verifier may have.
	Skew time.Duration `json:"skew"`
}

// Start is what a plan begins from.
type Start struct {
	ID       string
	Old      ca.AnchorID
	New      ca.AnchorID
	OldEnd   time.Time     // when the old anchor expires
	LeafTTL  time.Duration // the longest leaf that was signed
	Skew     time.Duration
	Epoch    uint64 // of the last command before
	Sequence uint64 // of the bundle in force
	Zones    []Zone // the canary first
}

// New makes a plan in the phase Staged. It refuses one that cannot drain before the
// old anchor expires, and says by when it would have had to start.
func New(s Start, now time.Time) (Plan, error) {
	if s.ID == "" || s.Old == s.New || s.Sequence == 0 {
		return Plan{}, fmt.Errorf("rotation needs an id, two anchors and the sequence of the bundle in force")
	}
	if len(s.Zones) == 0 {
		return Plan{}, fmt.Errorf("rotation without a zone")
	}
	if s.LeafTTL <= 0 || s.Skew < 0 {
		return Plan{}, fmt.Errorf("rotation needs the longest lifetime of a leaf and the skew of clocks")
	}
	// Leaves signed up to the moment of activation have to die while their anchor lives.
	if latest := s.OldEnd.Add(-s.LeafTTL - 2*s.Skew); now.After(latest) {
		return Plan{}, ca.Refuse(ca.ReasonStale, "leaves under the old anchor would outlive it: it ends at %s, and a rotation had to start by %s; see ca rotate emergency",
			s.OldEnd.UTC().Format(time.RFC3339), latest.UTC().Format(time.RFC3339))
	}
	p := Plan{ID: s.ID, Old: s.Old, New: s.New, Phase: Staged, Since: now, Epoch: s.Epoch, Sequence: s.Sequence, First: s.Sequence, Skew: s.Skew}
	seen := make(map[Zone]bool)
	for _, z := range s.Zones {
		if z == "" || seen[z] {
			return Plan{}, fmt.Errorf("zone %q is empty or named twice", z)
		}
		seen[z] = true
		p.Zones = append(p.Zones, ZoneState{Name: z})
	}
	return p, nil
}

// IsOver tells whether nothing moves any more.
func (p Plan) IsOver() bool { return p.Phase == Done || p.Phase == Aborted }

// Signer is the anchor under which the zones sign, or move to sign, in this phase.
func (p Plan) Signer() ca.AnchorID {
	switch p.Phase {
	case Activating, Draining, Retiring, Done:
		return p.New
	}
	return p.Old
}

// Anchors are those of the bundle that the plan has published last.
func (p Plan) Anchors() []ca.AnchorID {
	switch p.Phase {
	case Staged, Aborted:
		return []ca.AnchorID{p.Old}
	case Retiring, Done:
		return []ca.AnchorID{p.New}
	}
	return []ca.AnchorID{p.Old, p.New}
}
