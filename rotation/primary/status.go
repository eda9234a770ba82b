package primary

import (
	"context"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
)

// Status is where everything stands.
type Status struct {
	Plan     rotation.Plan // its ID is "" where there was none yet
	Blockers []rotation.Blocker
	Preview  rotation.Preview
	Zones    []ZoneStatus
	Bundle   *ca.Bundle // in force
	Hash     bundle.Hash
	IssuedAt time.Time // of the bundle
	Leader   journal.Leader
	Leads    bool   // this process is the leader
	Halted   string // why nothing may be issued
	// Due is why a rotation should be started, "" while none should.
	Due string
}

// ZoneStatus is a zone with its replicas.
type ZoneStatus struct {
	journal.Zone
	Report   rotation.Report // of the zone: what holds of each replica
	Replicas []ReplicaStatus
}

// ReplicaStatus is a replica with its last report. Received of the report is the last
// contact, zero where there was none.
type ReplicaStatus struct {
	journal.Replica
	Report rotation.Report
}

// Status looks at everything, and changes nothing.
func (p *Primary) Status(ctx context.Context) (Status, error) {
	head, err := p.refresh(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{Bundle: head.Bundle(), Hash: head.Hash(), IssuedAt: head.IssuedAt()}
	if s.Zones, err = p.ZoneList(ctx); err != nil {
		return s, err
	}
	if s.Leader, err = p.leaders.Leader(ctx); err != nil {
		return s, err
	}
	now := p.c.Now()
	s.Leads = s.Leader.Holder == p.holder() && now.Before(s.Leader.Until)
	if s.Halted, err = p.commands.Halted(ctx); err != nil {
		return s, err
	}
	if s.Plan, _, err = p.plans.Load(ctx); err != nil {
		return s, err
	}
	s.Due = p.due(head.Bundle(), s.Plan, now)
	s.Blockers, err = p.forks(ctx, head)
	if err != nil || s.Plan.ID == "" || s.Plan.IsOver() {
		return s, err
	}
	reports, err := p.reports(ctx)
	if err != nil {
		return s, err
	}
	s.Preview = s.Plan.Preview(now, reports)
	s.Blockers = append(s.Blockers, s.Preview.Blockers...)
	return s, nil
}

// ZoneList is every zone with its replicas and what they said last.
func (p *Primary) ZoneList(ctx context.Context) ([]ZoneStatus, error) {
	all, err := p.registry.Zones(ctx)
	if err != nil {
		return nil, err
	}
	replicas, err := p.registry.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	reports, err := p.reports(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]ZoneStatus, 0, len(all))
	for _, zone := range all {
		z := ZoneStatus{Zone: zone}
		var said []rotation.Report
		for _, r := range reports {
			if r.Zone == zone.Name {
				said = append(said, r)
			}
		}
		z.Report, _ = rotation.Merge(said)
		for _, replica := range replicas {
			if replica.Zone != zone.Name {
				continue
			}
			one := ReplicaStatus{Replica: replica}
			for _, r := range said {
				if r.Replica == replica.Name {
					one.Report = r
				}
			}
			z.Replicas = append(z.Replicas, one)
		}
		list = append(list, z)
	}
	return list, nil
}

// halfLife is when half of an anchor's life is over: a rotation is due then.
func halfLife(b *ca.Bundle) time.Time {
	c := b.Active()
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)
}

// due is why a rotation should be started, "" while none should, or one is under way.
func (p *Primary) due(b *ca.Bundle, plan rotation.Plan, now time.Time) string {
	half := halfLife(b)
	if now.Before(half) || plan.ID != "" && !plan.IsOver() {
		return ""
	}
	return fmt.Sprintf("half of the life of anchor %s was over at %s; it ends at %s", ca.AnchorIDOf(b.Active()), half.UTC().Format(time.RFC3339), b.Active().NotAfter.UTC().Format(time.RFC3339))
}

// scheduleEvery is how often a rotation that is due, and cannot be started, is tried.
const scheduleEvery = time.Hour

// schedule starts a rotation that is due, where that is configured. One that an
// operator has aborted is not started again by itself.
func (p *Primary) schedule(ctx context.Context) error {
	if !p.c.Rotation.Schedule {
		return nil
	}
	head, err := p.refresh(ctx)
	if err != nil {
		return err
	}
	plan, _, err := p.plans.Load(ctx)
	if err != nil {
		return err
	}
	now, active := p.c.Now(), ca.AnchorIDOf(head.Bundle().Active())
	why := p.due(head.Bundle(), plan, now)
	p.mu.Lock()
	isDue := why != "" && now.Sub(p.tried) >= scheduleEvery && (plan.Phase != rotation.Aborted || plan.Old != active)
	if isDue {
		p.tried = now
	}
	p.mu.Unlock()
	if !isDue {
		return nil
	}
	if _, err = p.Start(ctx, StartRequest{Actor: system, Reason: why, proposed: true}); err != nil {
		return fmt.Errorf("starting the rotation that is due: %w", err)
	}
	return nil
}
