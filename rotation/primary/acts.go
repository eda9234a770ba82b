package primary

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// StartRequest is a rotation that somebody wants.
type StartRequest struct {
	// New is the anchor that shall sign; zero is the one standby of the bundle. One that
	// is in no bundle yet has to be the anchor of a root that is configured.
	New ca.AnchorID
	// First are the zones to activate before the others, the canary first.
	First  []rotation.Zone
	Mode   rotation.Mode   // "" is the configured one
	Dwell  time.Duration   // 0 is the configured one
	Window rotation.Window // zero is the configured one
	Actor  string
	Reason string
	// Emergency drops the old anchor before its last leaf is dead.
	Emergency *rotation.Emergency
	proposed  bool // by the schedule: its actor approves nothing
}

// Proposal is a rotation before it is started.
type Proposal struct {
	Plan    rotation.Plan
	Preview rotation.Preview
}

// Propose tells what Start would start and what would follow. It stores and signs
// nothing.
func (p *Primary) Propose(ctx context.Context, r StartRequest) (Proposal, error) {
	plan, err := p.newPlan(ctx, r)
	if err != nil {
		return Proposal{}, err
	}
	reports, err := p.reports(ctx)
	if err != nil {
		return Proposal{}, err
	}
	return Proposal{Plan: plan, Preview: plan.Preview(p.c.Now(), reports)}, nil
}

// Start starts a rotation, when the root of the new anchor has signed an intermediate
// that verifies under it. One that is under way is not replaced: the error has its id.
func (p *Primary) Start(ctx context.Context, r StartRequest) (rotation.Plan, error) {
	if r.Actor == "" {
		return rotation.Plan{}, fmt.Errorf("starting a rotation needs an actor")
	}
	// The version first: whatever is published after it makes the store below fail.
	was, version, err := p.plans.Load(ctx)
	if err != nil {
		return was, err
	}
	if version != 0 && !was.IsOver() {
		return was, ca.Refuse(ca.ReasonStale, "rotation %s is under way, it is %s; wait for it or abort it", was.ID, was.Phase)
	}
	plan, err := p.newPlan(ctx, r)
	if err != nil {
		return plan, err
	}
	if err := p.selfTest(ctx, plan.New); err != nil {
		return plan, err
	}
	detail := map[string]string{"plan": plan.ID, "old": plan.Old.String(), "new": plan.New.String(), "because": r.Reason}
	if r.Emergency != nil {
		detail["emergency"] = "reissue first"
		if r.Emergency.Distrust {
			detail["emergency"] = "distrust now"
		}
	}
	if err := p.record(ctx, r.Actor, "rotation.start", detail); err != nil {
		return plan, err
	}
	_, err = p.plans.Replace(ctx, version, plan)
	return plan, err
}

// newPlan makes the plan of a request from the chain, the registry and the commands.
func (p *Primary) newPlan(ctx context.Context, r StartRequest) (rotation.Plan, error) {
	head, err := p.refresh(ctx)
	if err != nil {
		return rotation.Plan{}, err
	}
	if r.New.IsZero() {
		if r.New, err = standby(head.Bundle()); err != nil {
			return rotation.Plan{}, err
		}
	}
	old := head.Bundle().Active()
	start := rotation.Start{
		Old: ca.AnchorIDOf(old), New: r.New, OldEnd: old.NotAfter,
		LeafTTL: p.c.Rotation.LeafTTL, Skew: p.c.Rotation.Skew, Silent: p.c.Rotation.Silent, Canary: p.c.Rotation.Canary,
		Mode: r.Mode, Dwell: p.c.Rotation.Dwell, Window: p.c.Rotation.Window,
		Actor: r.Actor, Reason: r.Reason, Proposed: r.proposed, ApprovalsNeeded: p.c.Rotation.Approvals, Emergency: r.Emergency,
	}
	if start.Mode == "" {
		start.Mode = p.c.Rotation.Mode
	}
	if r.Dwell > 0 {
		start.Dwell = r.Dwell
	}
	if !r.Window.IsZero() {
		start.Window = r.Window
	}
	now := p.c.Now()
	if start.ID, err = planID(now); err != nil {
		return rotation.Plan{}, err
	}
	if start.Sequence, err = p.sequence(ctx, head); err != nil {
		return rotation.Plan{}, err
	}
	if start.Standby, err = p.since(ctx, head, r.New); err != nil {
		return rotation.Plan{}, err
	}
	if start.Epoch, err = p.reportedEpoch(ctx); err != nil {
		return rotation.Plan{}, err
	}
	return p.withZones(ctx, start, r.First)
}

// planID names a plan by when it was made.
func planID(now time.Time) (string, error) {
	var b [2]byte
	if err := fips.Random(b[:]); err != nil {
		return "", err
	}
	return now.UTC().Format("20060102-150405-") + hex.EncodeToString(b[:]), nil
}

// standby is the one anchor of a bundle that waits to sign.
func standby(b *ca.Bundle) (ca.AnchorID, error) {
	var found []ca.AnchorID
	for _, a := range b.Anchors() {
		if a.Slot == ca.SlotStandby {
			found = append(found, ca.AnchorIDOf(a.Certificate))
		}
	}
	if len(found) != 1 {
		return ca.AnchorID{}, ca.Refuse(ca.ReasonNotFound, "bundle %d has %d standby anchors; name the one that shall sign", b.Sequence(), len(found))
	}
	return found[0], nil
}

// sequence is the highest that is published, or that somebody means to publish.
func (p *Primary) sequence(ctx context.Context, head *bundle.Accepted) (uint64, error) {
	reserved, err := p.chain.Reserved(ctx)
	return max(reserved, head.Bundle().Sequence()), err
}

// since is the first bundle of the run up to head that has an anchor; 0 when head
// does not have it.
func (p *Primary) since(ctx context.Context, head *bundle.Accepted, anchor ca.AnchorID) (uint64, error) {
	chain, err := p.chain.After(ctx, 0)
	if err != nil {
		return 0, err
	}
	var at *bundle.Accepted
	var first uint64
	for _, s := range chain {
		if at, err = follow(at, []bundle.Signed{s}); err != nil {
			return 0, err
		}
		switch has := at.Bundle().Contains(anchor); {
		case at.Bundle().Sequence() > head.Bundle().Sequence():
			return first, nil
		case !has:
			first = 0
		case first == 0:
			first = at.Bundle().Sequence()
		}
	}
	return first, nil
}

// reportedEpoch is the highest epoch that was given, or that a replica says it follows:
// a journal that is an old copy does not give it again.
func (p *Primary) reportedEpoch(ctx context.Context) (uint64, error) {
	epoch, err := p.highestEpoch(ctx)
	if err != nil {
		return 0, err
	}
	all, err := p.reports(ctx)
	for _, r := range all {
		epoch = max(epoch, r.Epoch)
	}
	return epoch, err
}

// withZones makes the plan of every zone that has replicas, in the order in which they
// are activated.
func (p *Primary) withZones(ctx context.Context, start rotation.Start, first []rotation.Zone) (rotation.Plan, error) {
	all, err := p.reports(ctx)
	if err != nil {
		return rotation.Plan{}, err
	}
	start.Zones = slices.Clone(first)
	for _, r := range all {
		if !r.Removed && !slices.Contains(start.Zones, r.Zone) {
			start.Zones = append(start.Zones, r.Zone)
		}
	}
	return rotation.New(start, p.c.Now())
}

// selfTest has the root of an anchor sign an intermediate of a key that is thrown
// away, and checks it as every replica does.
func (p *Primary) selfTest(ctx context.Context, anchor ca.AnchorID) error {
	root, err := p.c.Roots(ctx, anchor)
	if err != nil {
		return fmt.Errorf("finding the root of anchor %s: %w", anchor, err)
	}
	cert, err := p.anchor(ctx, anchor)
	if err != nil {
		return err
	}
	b, err := ca.NewBundle(p.c.TrustDomain, 1, []ca.Anchor{{Certificate: cert, Slot: ca.SlotActive}})
	if err != nil {
		return fmt.Errorf("anchor %s can be in no bundle: %w", anchor, err)
	}
	return trial{p.c.Policy, p.c.TrustDomain, root, b}.run(ctx, p.c.Now())
}

// Act is what an operator does to the plan under way, and why.
type Act struct {
	Actor  string
	Action string // of the audit event, such as "rotation.abort"
	Detail map[string]string
}

// Change stores what change makes of the plan under way: an act of rotation.Plan. The
// steps follow at the next Tick.
func (p *Primary) Change(ctx context.Context, act Act, change func(rotation.Plan, time.Time) (rotation.Plan, error)) (rotation.Plan, error) {
	if act.Actor == "" || act.Action == "" {
		return rotation.Plan{}, fmt.Errorf("changing a rotation needs an actor and what is done")
	}
	for n := 0; ; n++ {
		plan, version, err := p.plans.Load(ctx)
		if err != nil {
			return plan, err
		}
		if version == 0 {
			return plan, ca.Refuse(ca.ReasonNotFound, "there is no rotation")
		}
		next, err := change(plan, p.c.Now())
		if err != nil {
			return plan, err
		}
		detail := map[string]string{"plan": plan.ID, "phase": string(plan.Phase), "sequence": strconv.FormatUint(plan.Sequence, 10)}
		maps.Copy(detail, act.Detail)
		if err := p.record(ctx, act.Actor, act.Action, detail); err != nil {
			return plan, err
		}
		_, err = p.plans.Replace(ctx, version, next)
		if err == nil {
			p.notify()
			return next, nil
		}
		if ca.ReasonOf(err) != ca.ReasonStale || n == races {
			return plan, err
		}
	}
}

// races is how often an act is done anew when the plan has moved meanwhile.
const races = 10

// Exclude lets the plan go on without a zone, whose leaves it waits for.
func (p *Primary) Exclude(ctx context.Context, zone rotation.Zone, act Act) (rotation.Plan, error) {
	end, err := p.leaseOf(ctx, zone)
	if err != nil {
		return rotation.Plan{}, err
	}
	reason := act.Detail["because"]
	return p.Change(ctx, act, func(plan rotation.Plan, _ time.Time) (rotation.Plan, error) {
		return plan.Exclude(zone, reason, end)
	})
}

// Plan is the plan under way, or the last one; its ID is "" where there was none.
func (p *Primary) Plan(ctx context.Context) (rotation.Plan, error) {
	plan, _, err := p.plans.Load(ctx)
	return plan, err
}

// History is every plan there was, the latest first.
func (p *Primary) History(ctx context.Context) ([]rotation.Plan, error) { return p.plans.History(ctx) }

// Halt stops all issuance of all zones until Resume. Those that cannot be reached
// hear of it when they can.
func (p *Primary) Halt(ctx context.Context, actor, why string) error {
	if actor == "" || why == "" {
		return fmt.Errorf("halting needs an actor and a reason")
	}
	return p.halt(ctx, Act{Actor: actor, Action: "halt", Detail: map[string]string{"because": why}}, why)
}

// Resume ends a halt.
func (p *Primary) Resume(ctx context.Context, actor string) error {
	if actor == "" {
		return fmt.Errorf("resuming needs an actor")
	}
	return p.halt(ctx, Act{Actor: actor, Action: "resume"}, "")
}

func (p *Primary) halt(ctx context.Context, act Act, why string) error {
	if err := p.record(ctx, act.Actor, act.Action, act.Detail); err != nil {
		return err
	}
	if _, err := p.commands.Halt(ctx, why); err != nil {
		return err
	}
	p.notify()
	return nil
}
