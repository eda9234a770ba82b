package primary

import (
	"context"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// AddStandby publishes an anchor that never signs until a rotation makes it: the next
// rotation has done its slowest phase then before it starts. Its root has to be one
// that is configured. One that is published already changes nothing.
func (p *Primary) AddStandby(ctx context.Context, anchor ca.AnchorID, actor string) error {
	cert, err := p.anchor(ctx, anchor)
	if err != nil {
		return err
	}
	return p.publish(ctx, editing{actor: actor, why: "a standby was added", edit: func(_ context.Context, head *bundle.Accepted) (edition, error) {
		if head.Bundle().Contains(anchor) {
			return edition{}, nil
		}
		all := append(head.Bundle().Anchors(), ca.Anchor{Certificate: cert, Slot: ca.SlotStandby})
		return edition{anchors: all, keys: head.Keys(), changes: true}, nil
	}})
}

// RemoveStandby publishes a bundle without a standby, under which no leaf lives. One
// that a rotation is about is refused with ReasonStale.
func (p *Primary) RemoveStandby(ctx context.Context, anchor ca.AnchorID, actor string) error {
	return p.publish(ctx, editing{actor: actor, why: "a standby was removed", edit: func(ctx context.Context, head *bundle.Accepted) (edition, error) {
		if !head.Bundle().Contains(anchor) {
			return edition{}, nil
		}
		if err := p.mayRemove(ctx, head, anchor); err != nil {
			return edition{}, err
		}
		var rest []ca.Anchor
		for _, a := range head.Bundle().Anchors() {
			if ca.AnchorIDOf(a.Certificate) != anchor {
				rest = append(rest, a)
			}
		}
		return edition{anchors: rest, keys: head.Keys(), changes: true}, nil
	}})
}

// mayRemove refuses to remove an anchor under which a leaf may live, or will.
func (p *Primary) mayRemove(ctx context.Context, head *bundle.Accepted, anchor ca.AnchorID) error {
	for _, a := range head.Bundle().Anchors() {
		if ca.AnchorIDOf(a.Certificate) == anchor && a.Slot != ca.SlotStandby {
			return ca.Refuse(ca.ReasonStale, "anchor %s is %s, not standby: a rotation removes it", anchor, a.Slot)
		}
	}
	plan, err := p.Plan(ctx)
	if err != nil {
		return err
	}
	if !plan.IsOver() && (plan.New == anchor || plan.Old == anchor) {
		return ca.Refuse(ca.ReasonStale, "rotation %s is about anchor %s", plan.ID, anchor)
	}
	all, err := p.reports(ctx)
	if err != nil {
		return err
	}
	now := p.c.Now()
	for _, r := range all {
		if r.Signer == anchor || r.Live[anchor] > 0 || now.Before(r.HighWater[anchor].Add(p.c.Rotation.Skew)) {
			return ca.Refuse(ca.ReasonStale, "leaves under anchor %s may live in zone %s", anchor, r.Zone)
		}
	}
	return nil
}
