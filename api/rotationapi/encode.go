package rotationapi

import (
	"bytes"
	"crypto/x509"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// Status is a view on the wire, at the time of the primary's clock.
func Status(v View, now time.Time) *kedgev1.RotationStatus {
	s := &kedgev1.RotationStatus{
		Now: timestamppb.New(now), TrustDomain: v.Bundle.TrustDomain().String(), Sequence: v.Bundle.Sequence(),
		Anchors: anchors(v.Bundle), Zones: encodeZones(v), Halted: v.Halted, Proposal: v.Proposal, ProposedAt: at(v.ProposedAt),
	}
	blockers := slices.Clone(v.Blockers)
	if v.HasPlan() {
		s.Plan = EncodePlan(v.Plan)
	}
	if v.IsUnderWay() {
		preview := v.Plan.Preview(now, v.Reports)
		for _, b := range preview.Blockers {
			if !slices.Contains(blockers, b) {
				blockers = append(blockers, b)
			}
		}
		s.Steps, s.Diff = steps(v.Plan, preview), Diff(v)
		s.NextStep = nextStep(v.Plan, preview, blockers)
		s.EarliestEnd = earliestEnd(preview)
	}
	s.Blockers = encodeBlockers(blockers)
	return s
}

// Preview is a plan that has not begun, as far ahead as can be seen. What operators do
// in its first phase, agree and let it go, is in no plan's way yet.
func Preview(v View, preview rotation.Preview, now time.Time) *kedgev1.RotationPreview {
	blockers := slices.DeleteFunc(slices.Concat(v.Blockers, preview.Blockers), func(b rotation.Blocker) bool {
		return b.Code == rotation.CodeAdvance || b.Code == rotation.CodeApproval
	})
	return &kedgev1.RotationPreview{
		TrustDomain: v.Bundle.TrustDomain().String(), Plan: EncodePlan(v.Plan), Steps: steps(v.Plan, preview), Diff: Diff(v),
		Blockers: encodeBlockers(blockers), Zones: encodeZones(v),
		EarliestEnd: earliestEnd(preview), Now: timestamppb.New(now),
	}
}

func earliestEnd(p rotation.Preview) *timestamppb.Timestamp {
	if len(p.Phases) == 0 {
		return nil
	}
	return at(p.Phases[len(p.Phases)-1].Earliest)
}

// at is a time on the wire; the zero time is absent.
func at(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// EncodePlan is a plan on the wire.
func EncodePlan(p rotation.Plan) *kedgev1.RotationPlan {
	wire := &kedgev1.RotationPlan{
		Id: p.ID, Phase: string(p.Phase), Since: at(p.Since), Mode: string(p.Mode), Paused: p.Paused, Advanced: string(p.Advanced),
		Trouble: p.Trouble, OldAnchor: p.Old.String(), OldNotAfter: at(p.OldEnd), NewAnchor: p.New.String(),
		Epoch: p.Epoch, Sequence: p.Sequence, Needed: p.Needed, Standby: p.NewPublished, HighWater: at(p.HighWater),
		Skew: durationpb.New(p.Skew), Dwell: durationpb.New(p.Dwell), Window: p.Window.String(),
		ApprovalsNeeded: uint32(max(p.ApprovalsNeeded, 0)), Actor: p.Actor, Reason: p.Reason, StartedAt: at(p.StartedAt), EndedAt: at(p.EndedAt),
	}
	for _, a := range p.Approvals {
		wire.Approvals = append(wire.Approvals, &kedgev1.RotationApproval{Actor: a.Actor, At: at(a.At)})
	}
	for _, c := range p.Confirmed {
		wire.Confirmations = append(wire.Confirmations, &kedgev1.RotationConfirmation{
			Zone: string(c.Zone), Class: string(c.Class), Actor: c.Actor, Reason: c.Reason, At: at(c.At),
		})
	}
	if e := p.Emergency; e != nil {
		wire.Emergency = &kedgev1.RotationEmergency{DistrustNow: e.Distrust, Deadline: at(e.Deadline), Actor: e.Actor, Reason: e.Reason, At: at(e.At)}
	}
	return wire
}

func anchors(b *ca.Bundle) []*kedgev1.RotationAnchor {
	var all []*kedgev1.RotationAnchor
	for _, a := range b.Anchors() {
		all = append(all, &kedgev1.RotationAnchor{
			Id: ca.AnchorIDOf(a.Certificate).String(), Slot: string(a.Slot), Subject: a.Certificate.Subject.CommonName, NotAfter: at(a.Certificate.NotAfter),
		})
	}
	return all
}

// Diff is how the bundle differs, once the plan is over, from the one in force. An
// anchor that stays as it is is left out.
func Diff(v View) []*kedgev1.AnchorChange {
	p := v.Plan
	before, after := make(map[ca.AnchorID]ca.Slot), make(map[ca.AnchorID]ca.Slot)
	certificates := make(map[ca.AnchorID]*x509.Certificate)
	for _, a := range v.Bundle.Anchors() {
		id := ca.AnchorIDOf(a.Certificate)
		before[id], after[id], certificates[id] = a.Slot, a.Slot, a.Certificate
	}
	if v.New != nil {
		certificates[p.New] = v.New
	}
	distrusted := p.Emergency != nil && p.Emergency.Anchor == p.New
	switch {
	case distrusted, p.Phase == rotation.Aborting, p.Phase == rotation.Aborted:
		after[p.Old] = ca.SlotActive
		delete(after, p.New)
		if p.NewPublished && !distrusted {
			after[p.New] = ca.SlotStandby
		}
	default:
		after[p.New] = ca.SlotActive
		delete(after, p.Old)
	}
	ids := slices.SortedFunc(maps.Keys(certificates), func(a, b ca.AnchorID) int { return bytes.Compare(a[:], b[:]) })
	var changes []*kedgev1.AnchorChange
	for _, id := range ids {
		if before[id] == after[id] {
			continue
		}
		c := certificates[id]
		changes = append(changes, &kedgev1.AnchorChange{
			Id: id.String(), Subject: c.Subject.CommonName, NotAfter: at(c.NotAfter), Before: string(before[id]), After: string(after[id]),
		})
	}
	return changes
}

func encodeZones(v View) []*kedgev1.RotationZone {
	var all []*kedgev1.RotationZone
	for _, z := range v.zones() {
		wire := &kedgev1.RotationZone{
			Name: string(z.name), Sequence: z.merged.Sequence, Epoch: z.merged.Epoch, Signer: signer(z.merged),
			Coverage: coverage(z.merged), Leaves: leaves(z.merged), Lease: at(z.merged.Lease), LastContact: at(z.merged.Received),
			Excluded: z.state.Excluded, Commanded: z.state.Commanded,
		}
		for _, r := range z.replicas {
			wire.Replicas = append(wire.Replicas, encodeReplica(r))
		}
		all = append(all, wire)
	}
	return all
}

func encodeReplica(r rotation.Report) *kedgev1.RotationReplica {
	wire := &kedgev1.RotationReplica{
		Name: r.Replica, Sequence: r.Sequence, Epoch: r.Epoch, Signer: signer(r), Version: r.Version,
		LastContact: at(r.Received), Halted: r.Halted, Lease: at(r.Lease),
	}
	if !r.Clock.IsZero() && !r.Received.IsZero() {
		wire.ClockOffset = durationpb.New(r.Clock.Sub(r.Received))
	}
	return wire
}

func signer(r rotation.Report) string {
	if r.Signer.IsZero() {
		return ""
	}
	return r.Signer.String()
}

func coverage(r rotation.Report) []*kedgev1.RotationCoverage {
	var all []*kedgev1.RotationCoverage
	for _, class := range slices.Sorted(maps.Keys(r.Coverage)) {
		c := r.Coverage[class]
		all = append(all, &kedgev1.RotationCoverage{
			Class: string(class), Sequence: c.Sequence, Live: count(c.Live), Behind: count(c.Behind), Oldest: at(c.Oldest),
		})
	}
	return all
}

func leaves(r rotation.Report) []*kedgev1.RotationLeaves {
	known := make(map[ca.AnchorID]bool)
	for id := range r.Live {
		known[id] = true
	}
	for id := range r.HighWater {
		known[id] = true
	}
	var all []*kedgev1.RotationLeaves
	for _, id := range slices.SortedFunc(maps.Keys(known), func(a, b ca.AnchorID) int { return bytes.Compare(a[:], b[:]) }) {
		all = append(all, &kedgev1.RotationLeaves{Anchor: id.String(), Live: count(r.Live[id]), HighWater: at(r.HighWater[id])})
	}
	return all
}

// count is a number that a replica has sent, which may be anything.
func count(n int) uint64 { return uint64(max(n, 0)) }

func encodeBlockers(all []rotation.Blocker) []*kedgev1.RotationBlocker {
	var wire []*kedgev1.RotationBlocker
	for _, b := range all {
		wire = append(wire, &kedgev1.RotationBlocker{Zone: string(b.Zone), Replica: b.Replica, Code: string(b.Code), Why: b.Why, Until: at(b.Until)})
	}
	return wire
}
