package primary

import (
	"context"
	"crypto/sha256"
	"strconv"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
)

// zones is what the controller of a plan sees of the zones.
type zones struct{ p *Primary }

var _ rotation.Zones = zones{}

// Reports implements rotation.Zones.
func (z zones) Reports(ctx context.Context) ([]rotation.Report, error) { return z.p.reports(ctx) }

// reports are those of all replicas: an empty one for a replica that has made none,
// so that it is waited for, and for one that was removed what it may still sign.
func (p *Primary) reports(ctx context.Context) ([]rotation.Report, error) {
	replicas, err := p.registry.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	stored, err := p.registry.Reports(ctx)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]rotation.Report, len(stored))
	for _, r := range stored {
		byName[string(r.Zone)+"/"+r.Replica] = r
	}
	now := p.c.Now()
	all := make([]rotation.Report, 0, len(replicas))
	for _, replica := range replicas {
		r := byName[string(replica.Zone)+"/"+replica.Name]
		r.Zone, r.Replica, r.Removed = replica.Zone, replica.Name, !replica.Removed.IsZero()
		switch {
		case r.Removed:
			r.Lease = p.lease(replica, r)
			if !now.Before(r.Lease.Add(p.c.Rotation.Skew)) {
				continue // nothing of it can be left
			}
			r.HighWater = raised(r.HighWater, replica.Before, replica.Leases, map[ca.AnchorID]time.Time{r.Signer: r.Lease})
		case r.Received.Before(replica.JoinedAt):
			// What is stored was said by one that had the name before.
			r = rotation.Report{Zone: r.Zone, Replica: r.Replica, HighWater: raised(r.HighWater, replica.Before)}
		default:
			r.HighWater = raised(r.HighWater, replica.Before)
		}
		all = append(all, r)
	}
	return all, nil
}

// raised is the latest of bounds under each anchor.
func raised(bound map[ca.AnchorID]time.Time, others ...map[ca.AnchorID]time.Time) map[ca.AnchorID]time.Time {
	ends := make(map[ca.AnchorID]time.Time)
	for _, m := range append(others, bound) {
		for anchor, end := range m {
			if !anchor.IsZero() && end.After(ends[anchor]) {
				ends[anchor] = end
			}
		}
	}
	return ends
}

// lease is when the last leaf ends that a replica can have signed, by what was given
// to it and by what it has said.
func (p *Primary) lease(replica journal.Replica, r rotation.Report) time.Time {
	end := replica.Lease()
	if r.Lease.After(end) {
		end = r.Lease
	}
	for _, bound := range r.HighWater {
		if bound.After(end) {
			end = bound
		}
	}
	return end
}

// leaseOf is when the last leaf of a zone ends, that of its removed replicas included;
// now when it never had an intermediate.
func (p *Primary) leaseOf(ctx context.Context, zone rotation.Zone) (time.Time, error) {
	end := p.c.Now()
	replicas, err := p.registry.Replicas(ctx)
	if err != nil {
		return end, err
	}
	stored, err := p.registry.Reports(ctx)
	if err != nil {
		return end, err
	}
	for _, replica := range replicas {
		if replica.Zone != zone {
			continue
		}
		var last rotation.Report
		for _, r := range stored {
			if r.Zone == zone && r.Replica == replica.Name {
				last = r
			}
		}
		if lease := p.lease(replica, last); lease.After(end) {
			end = lease
		}
	}
	return end, nil
}

// Apply implements rotation.Zones.
func (z zones) Apply(ctx context.Context, plan rotation.Plan, step rotation.Step) error {
	if err := z.p.publishPlan(ctx, plan, step.Publish); err != nil {
		return err
	}
	if step.Command.Epoch == 0 {
		return nil
	}
	return z.p.command(ctx, plan, step.Command)
}

// command gives a zone a command, once, and wakes its replicas.
func (p *Primary) command(ctx context.Context, plan rotation.Plan, command rotation.Command) error {
	was, err := p.commands.Command(ctx, command.Zone)
	if err != nil || was == command {
		return err
	}
	detail := map[string]string{
		"plan": plan.ID, "zone": string(command.Zone), "signer": command.Signer.String(), "epoch": strconv.FormatUint(command.Epoch, 10),
	}
	if err := p.record(ctx, system, "zone.command", detail); err != nil {
		return err
	}
	if _, err := p.commands.Give(ctx, command); err != nil {
		return err
	}
	p.notify()
	return nil
}

// commandFor is the command that a replica of a zone has to follow: the last that was
// given, or the one that the plan means for who joins.
func (p *Primary) commandFor(ctx context.Context, zone rotation.Zone) (ca.Command, rotation.Plan, error) {
	given, err := p.commands.Command(ctx, zone)
	if err != nil {
		return ca.Command{}, rotation.Plan{}, err
	}
	plan, version, err := p.plans.Load(ctx)
	if err != nil || version == 0 {
		return given.Command, plan, err
	}
	if meant := plan.CommandFor(zone); meant.Epoch > given.Epoch {
		return meant, plan, nil
	}
	return given.Command, plan, nil
}

// settle is how long a primary that has just started waits for the reports of all
// replicas before it publishes: its journal may be an old copy, and they know better.
const settle = 15 * time.Second

// forked is an *ca.Error with ReasonBundleForked when a replica holds a bundle or a
// command that this journal does not have.
func (p *Primary) forked(ctx context.Context, head *bundle.Accepted) error {
	found, err := p.forks(ctx, head)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return ca.Refuse(ca.ReasonBundleForked, "%s; nothing is published until ca rotate reconstruct has put it right", found[0])
	}
	return p.settled(ctx)
}

// settled is an *ca.Error with ReasonNotReady while reports are waited for.
func (p *Primary) settled(ctx context.Context) error {
	if !p.c.Now().Before(p.opened.Add(settle)) {
		return nil
	}
	all, err := p.reports(ctx)
	if err != nil {
		return err
	}
	for _, r := range all {
		if !r.Removed && r.Received.Before(p.opened) {
			return ca.Refuse(ca.ReasonNotReady, "waiting for replica %s of zone %s to report since this process has started, until %s at the latest", r.Replica, r.Zone, p.opened.Add(settle).UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// forks names the replicas that hold what this journal does not have.
func (p *Primary) forks(ctx context.Context, head *bundle.Accepted) ([]rotation.Blocker, error) {
	all, err := p.reports(ctx)
	if err != nil {
		return nil, err
	}
	epoch, err := p.highestEpoch(ctx)
	if err != nil {
		return nil, err
	}
	hashes := map[uint64]string{head.Bundle().Sequence(): head.Hash().String()}
	var found []rotation.Blocker
	for _, r := range all {
		why := ""
		switch sequence := head.Bundle().Sequence(); {
		case r.Removed || r.Sequence == 0:
		case r.Sequence > sequence:
			why = "it holds bundle " + strconv.FormatUint(r.Sequence, 10) + ", and the journal has come to " + strconv.FormatUint(sequence, 10)
		case r.Epoch > epoch:
			why = "it follows command " + strconv.FormatUint(r.Epoch, 10) + ", and the journal has come to " + strconv.FormatUint(epoch, 10)
		case r.BundleHash != "":
			ours, known := hashes[r.Sequence]
			if !known {
				if ours, err = p.hashAt(ctx, r.Sequence); err != nil {
					return nil, err
				}
				hashes[r.Sequence] = ours
			}
			if ours != "" && ours != r.BundleHash {
				why = "it holds another bundle " + strconv.FormatUint(r.Sequence, 10) + " than the journal has"
			}
		}
		if why != "" {
			found = append(found, rotation.Blocker{Zone: r.Zone, Replica: r.Replica, Code: rotation.CodeForked, Why: why})
		}
	}
	return found, nil
}

// hashAt is the hash of a bundle of the chain, "" if the chain does not have it.
func (p *Primary) hashAt(ctx context.Context, sequence uint64) (string, error) {
	s, ok, err := p.chain.At(ctx, sequence)
	if err != nil || !ok {
		return "", err
	}
	return bundle.Hash(sha256.Sum256(s.Payload)).String(), nil
}

// highestEpoch is that of the last command that was given, or that a plan has reserved.
func (p *Primary) highestEpoch(ctx context.Context) (uint64, error) {
	epoch, err := p.commands.Epoch(ctx)
	if err != nil {
		return 0, err
	}
	plan, _, err := p.plans.Load(ctx)
	return max(epoch, plan.Epoch), err
}
