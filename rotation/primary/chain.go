package primary

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// openChain reads the chain, and begins it with the bundle that this process holds
// where there is none.
func (p *Primary) openChain(ctx context.Context) error {
	if _, err := p.refresh(ctx); ca.ReasonOf(err) != ca.ReasonNotFound {
		return err
	}
	held, err := p.c.Custodian.Held(ctx)
	if err != nil {
		return err
	}
	if len(held.Signed) > 0 {
		return ca.Refuse(ca.ReasonBundleForked, "the journal has no bundle, and this replica holds signed bundle %d: the journal was lost, or is that of another primary; see ca rotate reconstruct", held.Bundle.Sequence())
	}
	keys := bundle.Keys{Threshold: 1}
	keys.Public = append(keys.Public, p.key.Public())
	signed, err := bundle.Make(nil, held.Bundle, keys, p.c.Now(), p.key)
	if err != nil {
		return fmt.Errorf("beginning the chain of bundles: %w", err)
	}
	sequence := held.Bundle.Sequence()
	if err := p.record(ctx, system, "bundle.begin", map[string]string{"sequence": strconv.FormatUint(sequence, 10)}); err != nil {
		return err
	}
	if err := p.chain.Append(ctx, sequence, signed); err != nil && ca.ReasonOf(err) != ca.ReasonStale {
		return err
	}
	_, err = p.refresh(ctx)
	return err
}

// refresh reads what was appended to the chain since, by whichever process. It
// returns the head, or an *ca.Error with ReasonNotFound where there is no chain.
func (p *Primary) refresh(ctx context.Context) (*bundle.Accepted, error) {
	p.mu.Lock()
	head := p.head
	p.mu.Unlock()
	if head != nil {
		now, ok, err := p.chain.At(ctx, head.Bundle().Sequence())
		if err != nil {
			return nil, err
		}
		if !ok || bundle.Hash(sha256.Sum256(now.Payload)) != head.Hash() {
			head = nil // the chain was taken from a zone's copy
		}
	}
	var after uint64
	if head != nil {
		after = head.Bundle().Sequence()
	}
	came, err := p.chain.After(ctx, after)
	if err != nil {
		return nil, err
	}
	if head, err = follow(head, came); err != nil {
		return nil, fmt.Errorf("reading the chain of bundles: %w", err)
	}
	p.keep(head, came)
	return head, nil
}

// follow replays bundles upon head, nil at the start. A chain that was taken from a
// zone's copy may begin anew after a gap.
func follow(head *bundle.Accepted, came []bundle.Signed) (*bundle.Accepted, error) {
	for _, s := range came {
		if head == nil {
			first, err := bundle.Begin(s, sha256.Sum256(s.Payload))
			if err != nil {
				return nil, err
			}
			head = first
			continue
		}
		next, err := head.Next(s)
		if ca.ReasonOf(err) == ca.ReasonBundleGap {
			next, err = bundle.Begin(s, sha256.Sum256(s.Payload))
		}
		if err != nil {
			return nil, err
		}
		head = next
	}
	if head == nil {
		return nil, ca.Refuse(ca.ReasonNotFound, "there is no chain of bundles yet")
	}
	return head, nil
}

// keep remembers the head, and wakes whoever follows when it is a new one.
func (p *Primary) keep(head *bundle.Accepted, came []bundle.Signed) {
	if len(came) == 0 {
		return
	}
	p.mu.Lock()
	p.head = head
	p.mu.Unlock()
	p.notify()
}

// edition is what the next bundle shall have.
type edition struct {
	anchors []ca.Anchor
	keys    bundle.Keys
	changes bool // it differs from the head
}

// editing is one wish to publish.
type editing struct {
	actor, why, plan string
	// edit makes the next edition of a head. It is asked again when another process has
	// published first.
	edit func(ctx context.Context, head *bundle.Accepted) (edition, error)
}

// publish appends one bundle that no plan has asked for, unless the head is as wished
// already. What the plan under way has asked for goes first, and the plan is told of
// the sequence before it is used: no sequence means two things.
func (p *Primary) publish(ctx context.Context, w editing) error {
	for {
		plan, version, err := p.plans.Load(ctx)
		if err != nil {
			return err
		}
		isUnderWay := version != 0 && !plan.IsOver()
		if isUnderWay {
			if err := p.publishPlan(ctx, plan, plan.Publication()); err != nil {
				return err
			}
		}
		head, err := p.refresh(ctx)
		if err != nil {
			return err
		}
		next, err := w.edit(ctx, head)
		if err != nil || !next.changes {
			return err
		}
		sequence := head.Bundle().Sequence() + 1
		if err := p.chain.Reserve(ctx, sequence); err != nil {
			return err
		}
		if isUnderWay {
			_, err = p.plans.Replace(ctx, version, plan.Observe(sequence))
		} else {
			err = p.stillOver(ctx)
		}
		if err == nil {
			err = p.append(ctx, head, next, w)
		}
		if ca.ReasonOf(err) != ca.ReasonStale {
			return err
		}
	}
}

// stillOver is an *ca.Error with ReasonStale when a plan is under way.
func (p *Primary) stillOver(ctx context.Context) error {
	plan, version, err := p.plans.Load(ctx)
	if err == nil && version != 0 && !plan.IsOver() {
		err = ca.Refuse(ca.ReasonStale, "rotation %s has begun", plan.ID)
	}
	return err
}

// publishPlan appends bundles as a plan wants them until the head has come as far. A
// head that has is done: the wish is late.
func (p *Primary) publishPlan(ctx context.Context, plan rotation.Plan, pub rotation.Publication) error {
	if pub.IsZero() {
		return nil
	}
	for {
		head, err := p.refresh(ctx)
		if err != nil || head.Bundle().Sequence() >= pub.Sequence {
			return err
		}
		anchors, err := p.apply(ctx, head.Bundle(), pub)
		if err != nil {
			return err
		}
		w := editing{actor: system, why: "rotation is " + string(plan.Phase), plan: plan.ID}
		if err := p.append(ctx, head, edition{anchors: anchors, keys: head.Keys()}, w); err != nil && ca.ReasonOf(err) != ca.ReasonStale {
			return err
		}
	}
}

// apply is the anchors of a bundle with the change that a plan wants.
func (p *Primary) apply(ctx context.Context, b *ca.Bundle, pub rotation.Publication) ([]ca.Anchor, error) {
	var anchors []ca.Anchor
	for _, a := range b.Anchors() {
		id := ca.AnchorIDOf(a.Certificate)
		if slices.Contains(pub.Without, id) {
			continue
		}
		a.Slot = slotAfter(a.Slot, id == pub.Active)
		anchors = append(anchors, a)
	}
	for _, id := range pub.With {
		if b.Contains(id) {
			continue
		}
		cert, err := p.anchor(ctx, id)
		if err != nil {
			return nil, err
		}
		anchors = append(anchors, ca.Anchor{Certificate: cert, Slot: slotAfter(ca.SlotStandby, id == pub.Active)})
	}
	return anchors, nil
}

// slotAfter is the slot that an anchor has once another signs, or it.
func slotAfter(was ca.Slot, isActive bool) ca.Slot {
	switch {
	case isActive:
		return ca.SlotActive
	case was == ca.SlotActive:
		return ca.SlotDraining
	}
	return was
}

// anchor is the certificate of an anchor that no bundle has yet, from its root.
func (p *Primary) anchor(ctx context.Context, id ca.AnchorID) (*x509.Certificate, error) {
	root, err := p.c.Roots(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("finding the root of anchor %s: %w", id, err)
	}
	cert, err := root.Anchor(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the root for anchor %s: %w", id, err)
	}
	if ca.AnchorIDOf(cert) != id {
		return nil, ca.Refuse(ca.ReasonRootMismatch, "no root that is configured is anchor %s", id)
	}
	return cert, nil
}

func (p *Primary) append(ctx context.Context, head *bundle.Accepted, next edition, w editing) error {
	if err := p.forked(ctx, head); err != nil {
		return err
	}
	if !p.canSign(head) {
		return ca.Refuse(ca.ReasonNotReady, "no bundle names the bundle key of this process yet; another process of the primary has to publish it")
	}
	sequence := head.Bundle().Sequence() + 1
	b, err := ca.NewBundle(p.c.TrustDomain, sequence, next.anchors)
	if err != nil {
		return fmt.Errorf("bundle %d: %w", sequence, err)
	}
	signed, err := bundle.Make(head, b, next.keys, p.c.Now(), p.key)
	if err != nil {
		return fmt.Errorf("bundle %d: %w", sequence, err)
	}
	detail := map[string]string{"sequence": strconv.FormatUint(sequence, 10), "because": w.why}
	if w.plan != "" {
		detail["plan"] = w.plan
	}
	for _, a := range b.Anchors() {
		detail["anchor "+ca.AnchorIDOf(a.Certificate).String()] = string(a.Slot)
	}
	if err := p.record(ctx, w.actor, "bundle.publish", detail); err != nil {
		return err
	}
	return p.chain.Append(ctx, sequence, signed)
}

// Encode is the form of a signed bundle in which a replica keeps it beside its bundle
// (ca.State.SignedBundle).
func Encode(s bundle.Signed) ([]byte, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding signed bundle: %w", err)
	}
	return raw, nil
}

// Decode reads what Encode has made.
func Decode(raw []byte) (bundle.Signed, error) {
	var s bundle.Signed
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("reading signed bundle: %w", err)
	}
	return s, nil
}
