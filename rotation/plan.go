package rotation

import (
	"slices"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Phase is where a plan is.
type Phase string

// The phases, in the order of a plan that succeeds; Aborting leaves it for Aborted.
const (
	Staged       Phase = "staged"       // nothing was done
	Distributing Phase = "distributing" // the bundle has both; nobody signs under the new
	Activating   Phase = "activating"   // zone by zone, signing moves to the new
	Draining     Phase = "draining"     // the leaves under the old die or are renewed
	Retiring     Phase = "retiring"     // the bundle without the old is on its way
	Done         Phase = "done"
	Aborting     Phase = "aborting" // signing moves back to the old, the leaves under the new die
	Aborted      Phase = "aborted"  // the bundle is as it was before
)

// Mode is who lets a phase end once the evidence is in.
type Mode string

const (
	// ModeManual waits for Advance before each of the three acts that others feel: the
	// publication of the new anchor, the first signature under it, the removal of the old.
	ModeManual Mode = "manual"
	// ModeAuto waits for the dwell and the window, and for clocks that agree.
	ModeAuto Mode = "auto"
)

// ZoneState is what a plan knows of a zone that takes part.
type ZoneState struct {
	Name Zone `json:"name"`
	// Excluded is why the operator goes on without it; "" if it takes part.
	Excluded string `json:"excluded,omitempty"`
	// Returning is set when an excluded zone may take part again, as soon as it and its
	// verifiers hold what the others do.
	Returning bool `json:"returning,omitempty"`
	// Evident is since when a zone that returns has caught up; zero while it has not.
	Evident time.Time `json:"evident,omitzero"`
	// Lease is when the last intermediate of an excluded zone ends.
	Lease time.Time `json:"lease,omitzero"`
	// Commanded is set once the zone was told to sign under the new anchor.
	Commanded bool `json:"commanded,omitempty"`
}

// Approval is one operator's consent.
type Approval struct {
	Actor string    `json:"actor"`
	At    time.Time `json:"at"`
}

// Confirmation stands for evidence that cannot be seen: somebody answers for it by
// name.
type Confirmation struct {
	Zone     Zone             `json:"zone"`
	Class    ca.VerifierClass `json:"class"`
	Actor    string           `json:"actor"`
	Reason   string           `json:"reason"`
	At       time.Time        `json:"at"`
	Sequence uint64           `json:"sequence"` // the bundle that it is about; Confirm sets it
}

// Emergency is the recorded decision to drop an anchor before its last leaf is dead.
// It waives that guard (S3) and the waiting for operators, and no other guard.
type Emergency struct {
	// Anchor is the one that is not trusted any more; zero is the old one of the plan.
	Anchor ca.AnchorID `json:"anchor,omitzero"`
	// Distrust drops it at once. Otherwise it is dropped when everybody signs under the
	// other and Percent of all live leaves are known to be followed by new ones, or at
	// Deadline. Those of workloads that have vanished are never followed, and count until
	// they end.
	Distrust bool      `json:"distrust,omitempty"`
	Percent  int       `json:"percent,omitempty"` // 0 is 100
	Deadline time.Time `json:"deadline,omitzero"` // zero is none
	Actor    string    `json:"actor"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
	// Taken is set once the plan has turned to it, and Reissued is the bundle that was
	// published then: who holds it has a new leaf. A plan sets both.
	Taken    bool   `json:"taken,omitempty"`
	Reissued uint64 `json:"reissued,omitempty"`
}

// Decision is who ended a plan early, and why.
type Decision struct {
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Plan is one rotation. It is a value: Next and the operator's acts return another.
type Plan struct {
	ID     string      `json:"id"`
	Old    ca.AnchorID `json:"old"`
	New    ca.AnchorID `json:"new"`
	OldEnd time.Time   `json:"old_end"` // when the old anchor expires

	Phase Phase     `json:"phase"`
	Since time.Time `json:"since"` // when the phase began
	// Evident is since when the reports have told that the phase may end; zero while they
	// do not. Silence does not end it.
	Evident time.Time `json:"evident,omitzero"`
	// Epoch is the number of the last command to sign; zones refuse a lower one.
	Epoch uint64 `json:"epoch"`
	// Sequence is that of the last bundle that may have been published.
	Sequence uint64 `json:"sequence"`
	// First is the sequence that was in force before the plan.
	First uint64 `json:"first"`
	// Needed is the sequence that proves what the phase waits for: who holds it, or a
	// later one, has the new anchor, or, when retiring, does not have the old one. It is
	// below Sequence when the new anchor was published before, as a standby, or when
	// somebody else has published since.
	Needed uint64 `json:"needed"`
	// NewPublished tells that the new anchor was in the bundle before the plan.
	NewPublished bool `json:"new_published,omitempty"`

	Zones []ZoneState `json:"zones"` // in the order in which they are activated, the canary first
	// HighWater bounds the end of every leaf under the anchor that drains: the latest
	// that any replica reported, never lowered.
	HighWater time.Time `json:"high_water,omitzero"`
	// LeaseEnd is when the last intermediate of the zones that were removed ends.
	LeaseEnd time.Time `json:"lease_end,omitzero"`

	Skew    time.Duration `json:"skew"`     // how far any clock may be from the primary's
	LeafTTL time.Duration `json:"leaf_ttl"` // the longest leaf
	Silent  time.Duration `json:"silent"`   // a report that is older does not count
	Canary  bool          `json:"canary,omitempty"`

	Mode     Mode          `json:"mode"`
	Paused   bool          `json:"paused,omitempty"`
	Advanced Phase         `json:"advanced,omitempty"` // the phase that the operator let go
	Dwell    time.Duration `json:"dwell,omitempty"`
	Window   Window        `json:"window,omitzero"`
	Trouble  string        `json:"trouble,omitempty"` // why it is manual and was automatic

	Approvals       []Approval     `json:"approvals,omitempty"`
	ApprovalsNeeded int            `json:"approvals_needed,omitempty"`
	Confirmed       []Confirmation `json:"confirmed,omitempty"`
	Emergency       *Emergency     `json:"emergency,omitempty"`

	Actor     string    `json:"actor"`
	Reason    string    `json:"reason,omitempty"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	AbortedBy Decision  `json:"aborted_by,omitzero"`
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

// leaving is the anchor that drains, or would: the one that Signer is not.
func (p Plan) leaving() ca.AnchorID {
	if p.Signer() == p.New {
		return p.Old
	}
	return p.New
}

// CommandFor is the last command that a zone was given: what a replica gets that joins,
// comes back or asks. A zone that is not in the plan gets what the next will.
func (p Plan) CommandFor(zone Zone) ca.Command {
	if p.Phase == Activating && !p.commanded(zone) {
		return ca.Command{Signer: p.Old, Epoch: p.Epoch - 1}
	}
	return ca.Command{Signer: p.Signer(), Epoch: p.Epoch}
}

func (p Plan) commanded(zone Zone) bool {
	i := p.zone(zone)
	return i >= 0 && p.Zones[i].Commanded
}

// zone is the index of a zone, -1 when the plan does not have it.
func (p Plan) zone(name Zone) int {
	return slices.IndexFunc(p.Zones, func(z ZoneState) bool { return z.Name == name })
}

func (p Plan) clone() Plan {
	p.Zones, p.Approvals, p.Confirmed = slices.Clone(p.Zones), slices.Clone(p.Approvals), slices.Clone(p.Confirmed)
	if p.Emergency != nil {
		e := *p.Emergency
		p.Emergency = &e
	}
	return p
}
