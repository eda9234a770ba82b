package rotation

import (
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// DefaultSilent is how old a report may be, unless a plan says otherwise.
const DefaultSilent = 2 * time.Minute

// Start is what a plan begins from.
type Start struct {
	ID       string
	Old      ca.AnchorID
	New      ca.AnchorID
	OldEnd   time.Time     // when the old anchor expires
	LeafTTL  time.Duration // the longest leaf that is signed
	Skew     time.Duration // how far any clock may be from the primary's
	Silent   time.Duration // how old a report may be; 0 is DefaultSilent
	Epoch    uint64        // of the last command before
	Sequence uint64        // of the bundle in force
	// Standby is the first bundle that has New, when it and all after it do; 0 when the
	// bundle in force does not have it.
	Standby uint64
	Zones   []Zone // the canary first
	// Canary demands that a handshake with a canary under New has succeeded from every
	// replica. A handshake that has failed blocks without it too.
	Canary bool

	Mode   Mode // "" is ModeManual
	Dwell  time.Duration
	Window Window

	Actor    string // who starts it; approves it by that
	Reason   string
	Proposed bool // it is the schedule's: Actor approves nothing
	// ApprovalsNeeded is how many different operators have to approve, Actor included.
	ApprovalsNeeded int
	Emergency       *Emergency
}

// New makes a plan in the phase Staged. It refuses one that cannot drain before the
// old anchor expires, and says by when it would have had to start; an emergency it
// does not refuse for that.
func New(s Start, now time.Time) (Plan, error) {
	if err := s.check(now); err != nil {
		return Plan{}, err
	}
	p := Plan{
		ID: s.ID, Old: s.Old, New: s.New, OldEnd: s.OldEnd, Phase: Staged, Since: now,
		Epoch: s.Epoch, Sequence: s.Sequence, First: s.Sequence, Needed: s.Standby, NewPublished: s.Standby > 0,
		Skew: s.Skew, LeafTTL: s.LeafTTL, Silent: s.Silent, Canary: s.Canary,
		Mode: s.Mode, Dwell: s.Dwell, Window: s.Window, ApprovalsNeeded: s.ApprovalsNeeded,
		Actor: s.Actor, Reason: s.Reason, StartedAt: now,
	}
	if p.Silent == 0 {
		p.Silent = DefaultSilent
	}
	if p.Mode == "" {
		p.Mode = ModeManual
	}
	if s.Actor != "" && !s.Proposed {
		p.Approvals = []Approval{{s.Actor, now}}
	}
	for _, z := range s.Zones {
		if z == "" || p.zone(z) >= 0 {
			return Plan{}, fmt.Errorf("zone %q is empty or named twice", z)
		}
		p.Zones = append(p.Zones, ZoneState{Name: z})
	}
	if s.Emergency != nil {
		return p.MakeEmergency(*s.Emergency)
	}
	return p, nil
}

func (s Start) check(now time.Time) error {
	switch {
	case s.ID == "" || s.Old == s.New || s.Sequence == 0:
		return fmt.Errorf("rotation needs an id, two anchors and the sequence of the bundle in force")
	case s.Standby > s.Sequence:
		return fmt.Errorf("standby was published as bundle %d, and bundle %d is in force", s.Standby, s.Sequence)
	case len(s.Zones) == 0:
		return fmt.Errorf("rotation without a zone")
	case s.LeafTTL <= 0 || s.Skew < 0 || s.Silent < 0 || s.Dwell < 0:
		return fmt.Errorf("rotation needs the longest lifetime of a leaf and the skew of clocks")
	case s.Mode != "" && s.Mode != ModeManual && s.Mode != ModeAuto:
		return fmt.Errorf("mode %q is neither %s nor %s", s.Mode, ModeManual, ModeAuto)
	case s.Emergency != nil:
		return nil
	}
	// The leaves signed up to the moment of activation have to die while their anchor
	// lives, and before that a lifetime may pass until every verifier has the new one;
	// at every clock.
	needs := s.LeafTTL + 4*s.Skew
	if s.Standby == 0 {
		needs += s.LeafTTL
	}
	if s.Mode == ModeAuto {
		needs += 2 * s.Dwell
	}
	if latest := s.OldEnd.Add(-needs); now.After(latest) {
		return ca.Refuse(ca.ReasonStale, "leaves under the old anchor would outlive it: it ends at %s, and a rotation had to start by %s; see ca rotate emergency",
			s.OldEnd.UTC().Format(time.RFC3339), latest.UTC().Format(time.RFC3339))
	}
	return nil
}
