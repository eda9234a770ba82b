package primary

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// Reconstruction is what the journal says and what the zones show.
type Reconstruction struct {
	Sequence uint64 // of the journal's head
	Hash     bundle.Hash
	Epoch    uint64 // of the journal's last command
	Plan     rotation.Plan
	// Forks are the replicas that hold what the journal does not have. There are none
	// where the journal agrees with the zones.
	Forks []rotation.Blocker
	// Highest is the report with the highest bundle.
	Highest rotation.Report
	// Shown is the phase that the zones show, which is Plan.Phase where they agree;
	// "" where no rotation is under way.
	Shown rotation.Phase
}

// Agrees tells whether there is nothing to put right.
func (r Reconstruction) Agrees() bool { return len(r.Forks) == 0 && r.Shown == r.shownByPlan() }

func (r Reconstruction) shownByPlan() rotation.Phase {
	if r.Plan.ID == "" {
		return ""
	}
	return r.Plan.Phase
}

// Reconstruct derives from the reports of the zones where the rotation is, and compares
// it with the journal. It changes nothing.
func (p *Primary) Reconstruct(ctx context.Context) (Reconstruction, error) {
	head, err := p.refresh(ctx)
	if err != nil {
		return Reconstruction{}, err
	}
	r := Reconstruction{Sequence: head.Bundle().Sequence(), Hash: head.Hash()}
	if r.Epoch, err = p.highestEpoch(ctx); err != nil {
		return r, err
	}
	if r.Plan, _, err = p.plans.Load(ctx); err != nil {
		return r, err
	}
	if r.Forks, err = p.forks(ctx, head); err != nil {
		return r, err
	}
	all, err := p.reports(ctx)
	if err != nil {
		return r, err
	}
	for _, report := range all {
		if report.Sequence > r.Highest.Sequence {
			r.Highest = report
		}
	}
	r.Shown = shown(r.Plan, all, p.c.Now())
	return r, nil
}

// shown is the phase that reports show of a plan: before Activating nobody can have
// signed under the new anchor.
func shown(plan rotation.Plan, all []rotation.Report, now time.Time) rotation.Phase {
	if plan.ID == "" {
		return ""
	}
	if plan.Phase != rotation.Staged && plan.Phase != rotation.Distributing {
		return plan.Phase
	}
	for _, r := range all {
		if r.Signer == plan.New || r.Live[plan.New] > 0 || now.Before(r.HighWater[plan.New]) {
			return rotation.Activating
		}
	}
	return plan.Phase
}

// Taking is a decision to go on from what a zone holds.
type Taking struct {
	// Chain is the signed bundles that a replica holds, oldest first: one at least. It
	// may be empty where only commands are missing.
	Chain  []bundle.Signed
	Actor  string
	Reason string
}

// Take goes on from a zone's copy of the chain, when the journal is an old copy: the
// last bundle of it becomes the head, and the bundles of the journal that it does not
// follow are removed. It has to be of this trust domain, be signed by the bundle keys
// that the journal's head names, and name that of this process. The plan takes an epoch above every one that a replica follows, and
// the phase that the zones show. The operator has seen to it that the copy is the one
// to go on from: a replica that holds another history has to join again.
func (p *Primary) Take(ctx context.Context, t Taking) error {
	if t.Actor == "" || t.Reason == "" {
		return fmt.Errorf("taking the chain from a zone needs an actor and a reason")
	}
	r, err := p.Reconstruct(ctx)
	if err != nil {
		return err
	}
	if len(t.Chain) > 0 {
		if err := p.takeChain(ctx, t); err != nil {
			return err
		}
	}
	return p.takePlan(ctx, t, r)
}

func (p *Primary) takeChain(ctx context.Context, t Taking) error {
	first, err := bundle.Begin(t.Chain[0], sha256.Sum256(t.Chain[0].Payload))
	if err != nil {
		return err
	}
	head, err := p.refresh(ctx)
	if err != nil {
		return err
	}
	last, err := first.Replay(t.Chain[1:])
	if err != nil {
		return err
	}
	if err := p.mayTake(head, last, t.Chain[len(t.Chain)-1]); err != nil {
		return err
	}
	from := first.Bundle().Sequence()
	detail := map[string]string{
		"sequence": strconv.FormatUint(last.Bundle().Sequence(), 10), "hash": last.Hash().String(), "because": t.Reason,
		"replaced": strconv.FormatUint(head.Bundle().Sequence(), 10), "replaced_hash": head.Hash().String(),
	}
	if err := p.record(ctx, t.Actor, "bundle.take", detail); err != nil {
		return err
	}
	keep, err := p.connects(ctx, t.Chain[0], from)
	if err != nil {
		return err
	}
	// What does not lead to the copy goes; a gap before it begins the chain anew.
	if err := p.chain.Cut(ctx, keep); err != nil {
		return err
	}
	for i, s := range t.Chain {
		if err := p.chain.Append(ctx, from+uint64(i), s); err != nil {
			return err
		}
	}
	_, err = p.refresh(ctx)
	return err
}

// connects is the sequence up to which the journal's chain may stay: the bundle before
// the copy where the copy follows it, else the one before that.
func (p *Primary) connects(ctx context.Context, first bundle.Signed, from uint64) (uint64, error) {
	before, ok, err := p.chain.At(ctx, from-1)
	if err != nil {
		return 0, err
	}
	if ok {
		at, err := bundle.Begin(before, sha256.Sum256(before.Payload))
		if err == nil {
			if _, err := at.Next(first); err == nil {
				return from - 1, nil
			}
		}
	}
	if from < 2 {
		return 0, nil
	}
	return from - 2, nil
}

func (p *Primary) mayTake(head, last *bundle.Accepted, copied bundle.Signed) error {
	switch {
	case last.Bundle().TrustDomain() != p.c.TrustDomain:
		return ca.Refuse(ca.ReasonBundleForeign, "the copy is of trust domain %s", last.Bundle().TrustDomain())
	case last.Bundle().Sequence() <= head.Bundle().Sequence() && last.Hash() == head.Hash():
		return ca.Refuse(ca.ReasonStale, "the copy is what the journal has")
	case !p.canSign(last):
		return ca.Refuse(ca.ReasonBundleSignature, "the copy does not name the bundle key of this process, which could not go on from it; restore the data directory of the process that has it, or let every zone join again")
	}
	// It names our key, which anybody can write: who signed it is what counts.
	if err := copied.SignedBy(head.Keys()); err != nil {
		return fmt.Errorf("the copy is not of this primary: %w", err)
	}
	return nil
}

// takePlan gives the plan under way the phase that zones show, and a command above
// every one that they follow.
func (p *Primary) takePlan(ctx context.Context, t Taking, r Reconstruction) error {
	epoch, err := p.reportedEpoch(ctx)
	if err != nil {
		return err
	}
	if r.Plan.ID == "" || r.Plan.IsOver() {
		return p.recall(ctx, t, epoch)
	}
	act := Act{Actor: t.Actor, Action: "rotation.reconstruct", Detail: map[string]string{"because": t.Reason, "to": string(r.Shown), "epoch": strconv.FormatUint(epoch, 10)}}
	_, err = p.Change(ctx, act, func(plan rotation.Plan, now time.Time) (rotation.Plan, error) {
		return plan.Reconstructed(r.Shown, epoch, now), nil
	})
	return err
}

// recall commands every zone to sign under the active anchor, where the journal knows
// of no plan but the zones follow commands that it does not have. The other anchor
// stays in the bundle, and so do the leaves under it stay good.
func (p *Primary) recall(ctx context.Context, t Taking, epoch uint64) error {
	known, err := p.highestEpoch(ctx)
	if err != nil || epoch <= known {
		return err
	}
	head, err := p.refresh(ctx)
	if err != nil {
		return err
	}
	all, err := p.registry.Zones(ctx)
	if err != nil {
		return err
	}
	signer := ca.AnchorIDOf(head.Bundle().Active())
	detail := map[string]string{"because": t.Reason, "epoch": strconv.FormatUint(epoch+1, 10), "signer": signer.String()}
	if err := p.record(ctx, t.Actor, "rotation.reconstruct", detail); err != nil {
		return err
	}
	for _, z := range all {
		if _, err := p.commands.Give(ctx, rotation.Command{Zone: z.Name, Command: ca.Command{Signer: signer, Epoch: epoch + 1}}); err != nil {
			return err
		}
	}
	p.notify()
	return nil
}
