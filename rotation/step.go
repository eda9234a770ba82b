package rotation

import (
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Step is something to do. A step may be taken any number of times, and late.
type Step struct {
	// Publish is a bundle to publish: Sequence 0 is none.
	Publish Publication `json:"publish,omitzero"`
	// Command is a command to a zone. Epoch 0 is none.
	Command Command `json:"command,omitzero"`
}

// Publication is how the bundle in force is to change. The anchors that it does not
// name stay as they are.
//
// Whoever publishes appends to the chain until its head has Sequence, each time what
// the Publication says; with a head that has come so far already, it is done.
type Publication struct {
	Sequence uint64        `json:"sequence"`
	Active   ca.AnchorID   `json:"active"`  // signs for who has no command
	With     []ca.AnchorID `json:"with"`    // are in it
	Without  []ca.AnchorID `json:"without"` // are not in it
}

// IsZero tells whether there is nothing to publish.
func (p Publication) IsZero() bool { return p.Sequence == 0 }

// Outcome is what Next says.
type Outcome struct {
	Plan     Plan      `json:"plan"`
	Steps    []Step    `json:"steps,omitempty"`
	Blockers []Blocker `json:"blockers,omitempty"` // empty only when Plan has moved or is over
}

// Blocker is why a plan does not move.
type Blocker struct {
	Zone    Zone   `json:"zone,omitempty"`    // "" when it is none's fault
	Replica string `json:"replica,omitempty"` // "" when it is not one replica's
	Code    Code   `json:"code"`
	Why     string `json:"why"`
	// Until is when it will have passed by itself, where that is known.
	Until time.Time `json:"until,omitzero"`
}

// String is the blocker as people read it.
func (b Blocker) String() string {
	switch {
	case b.Zone == "":
		return b.Why
	case b.Replica == "":
		return "zone " + string(b.Zone) + ": " + b.Why
	}
	return "zone " + string(b.Zone) + ", replica " + b.Replica + ": " + b.Why
}

// Code names a kind of blocker. It is stable.
type Code string

// The codes.
const (
	CodeSilent       Code = "silent"        // no report, or an old one
	CodeBundleBehind Code = "bundle_behind" // a replica holds an earlier bundle
	CodeCoverage     Code = "coverage"      // verifiers hold an earlier bundle, or may
	CodeSigner       Code = "signer"        // a replica signs under the other anchor
	CodeEpoch        Code = "epoch"         // a report answers an earlier command
	CodeDraining     Code = "draining"      // leaves may live
	CodeLiveLeaves   Code = "live_leaves"   // leaves are counted
	CodeCanary       Code = "canary"        // a handshake failed, or was not made
	CodeClock        Code = "clock"         // a clock is off
	CodeForked       Code = "forked"        // a replica holds what was not published
	CodeApproval     Code = "approval"      // another operator has to agree
	CodeAdvance      Code = "advance"       // an operator has to let the phase go
	CodePaused       Code = "paused"
	CodeWindow       Code = "window" // outside the hours
	CodeDwell        Code = "dwell"  // the phase is too young
)

// publication is the bundle that the phase asks for.
func (p Plan) publication() Publication {
	pub := Publication{Sequence: p.Sequence, Active: p.Old, With: []ca.AnchorID{p.Old, p.New}}
	e := p.Emergency
	drops := e != nil && e.Taken && e.Anchor == p.New
	switch {
	case p.Phase == Retiring || p.Phase == Done:
		pub.Active, pub.With, pub.Without = p.New, []ca.AnchorID{p.New}, []ca.AnchorID{p.Old}
	case p.Phase == Aborted && (drops || !p.NewPublished), p.Phase == Aborting && drops && e.Distrust:
		pub.With, pub.Without = []ca.AnchorID{p.Old}, []ca.AnchorID{p.New}
	}
	return pub
}

// Steps are what a plan that is stored asks for, again and again until it is over.
func (p Plan) Steps() []Step {
	var steps []Step
	if p.Phase != Staged && p.Sequence > p.First {
		steps = append(steps, Step{Publish: p.publication()})
	}
	switch p.Phase {
	case Activating, Draining, Retiring, Aborting:
		for _, z := range p.Zones {
			if p.Phase != Activating || z.Commanded {
				steps = append(steps, Step{Command: Command{z.Name, ca.Command{Signer: p.Signer(), Epoch: p.Epoch}}})
			}
		}
	}
	return steps
}
