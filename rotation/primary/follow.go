package primary

import (
	"context"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
)

var _ Source = (*Primary)(nil)

// lookEvery is how often a follower looks for what other processes have stored.
const lookEvery = time.Second

// Follow implements Source. The caller has authenticated the replica.
func (p *Primary) Follow(ctx context.Context, have Have) (Directive, error) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		changed := p.waiting()
		d, isNew, err := p.Directive(ctx, have)
		if err != nil || isNew {
			return d, err
		}
		select {
		case <-ctx.Done():
			return Directive{}, ctx.Err()
		case <-changed:
		case <-ticker.C:
		}
	}
}

// Directive is what Follow returns, at once, and whether there is anything in it that
// the replica does not have. A replica that was removed is refused; so is one that
// holds a higher bundle than this primary, with ReasonBundleForked.
func (p *Primary) Directive(ctx context.Context, have Have) (Directive, bool, error) {
	if _, err := p.member(ctx, have.Zone, have.Replica); err != nil {
		return Directive{}, false, err
	}
	head, err := p.refresh(ctx)
	if err != nil {
		return Directive{}, false, err
	}
	if sequence := head.Bundle().Sequence(); have.Sequence > sequence {
		return Directive{}, false, ca.Refuse(ca.ReasonBundleForked, "the replica holds bundle %d, and the journal has come to %d", have.Sequence, sequence)
	}
	var d Directive
	command, plan, err := p.commandFor(ctx, have.Zone)
	if err != nil {
		return d, false, err
	}
	// Nobody is told to sign under an anchor that the bundle of this directive lacks.
	if command.Epoch > 0 && head.Bundle().Contains(command.Signer) {
		d.Command = command
	}
	if !plan.IsOver() {
		d.Plan = plan.ID
	}
	if d.Halted, err = p.commands.Halted(ctx); err != nil {
		return d, false, err
	}
	if have.Sequence < head.Bundle().Sequence() {
		if d.Bundles, err = p.chain.After(ctx, have.Sequence); err != nil {
			return d, false, err
		}
	}
	return d, len(d.Bundles) > 0 || d.Command.Epoch > have.Epoch || d.Halted != have.Halted, nil
}

// Bundles are the signed bundles above a sequence, oldest first. They prove
// themselves.
func (p *Primary) Bundles(ctx context.Context, after uint64) ([]bundle.Signed, error) {
	return p.chain.After(ctx, after)
}

// Report implements Source: it stores what a replica says of itself. A zone or a
// replica that was removed is refused.
func (p *Primary) Report(ctx context.Context, r rotation.Report) error {
	member, err := p.member(ctx, r.Zone, r.Replica)
	if err != nil {
		return err
	}
	// The primary's own replicas do not ask it for their intermediates.
	if r.Lease.After(member.Lease()) && !r.Signer.IsZero() {
		if err := p.registry.ExtendLease(ctx, r.Zone, r.Replica, journal.Lease{Anchor: r.Signer, End: r.Lease}); err != nil {
			return err
		}
	}
	r.Received, r.Removed = p.c.Now().UTC(), false
	return p.registry.Report(ctx, r)
}
