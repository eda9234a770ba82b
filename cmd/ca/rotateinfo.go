package main

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// What follows is the rotation as JSON and YAML have it.

type rotationInfo struct {
	Verdict     string         `json:"verdict"` // ok, blocked, attention or unsafe: the exit code in a word
	Because     []string       `json:"because,omitempty"`
	Now         time.Time      `json:"now"`
	TrustDomain string         `json:"trustDomain"`
	Plan        *planInfo      `json:"plan,omitempty"`
	Sequence    uint64         `json:"sequence"`
	Anchors     []anchorInfo   `json:"anchors"`
	Zones       []zoneInfo     `json:"zones"`
	Blockers    []blockerInfo  `json:"blockers"`
	Steps       []stepInfo     `json:"steps"`
	Diff        []anchorChange `json:"diff"`
	Next        string         `json:"next,omitempty"`
	EarliestEnd time.Time      `json:"earliestEnd,omitzero"`
	Halted      string         `json:"halted,omitempty"`
	Proposal    string         `json:"proposal,omitempty"`
	ProposedAt  time.Time      `json:"proposedAt,omitzero"`
}

type planInfo struct {
	ID              string         `json:"id"`
	Phase           string         `json:"phase"`
	Since           time.Time      `json:"since"`
	Mode            string         `json:"mode"`
	Paused          bool           `json:"paused"`
	Advanced        string         `json:"advanced,omitempty"`
	Trouble         string         `json:"trouble,omitempty"`
	Old             string         `json:"old"`
	OldNotAfter     time.Time      `json:"oldNotAfter,omitzero"`
	New             string         `json:"new"`
	Standby         bool           `json:"standby"`
	Epoch           uint64         `json:"epoch"`
	Sequence        uint64         `json:"sequence"`
	Needed          uint64         `json:"needed"`
	HighWater       time.Time      `json:"highWater,omitzero"`
	Skew            string         `json:"skew"`
	Dwell           string         `json:"dwell"`
	Window          string         `json:"window,omitempty"`
	Approvals       []consentInfo  `json:"approvals"`
	ApprovalsNeeded uint32         `json:"approvalsNeeded"`
	Confirmations   []consentInfo  `json:"confirmations,omitempty"`
	Emergency       *emergencyInfo `json:"emergency,omitempty"`
	Actor           string         `json:"actor"`
	Reason          string         `json:"reason,omitempty"`
	StartedAt       time.Time      `json:"startedAt,omitzero"`
	EndedAt         time.Time      `json:"endedAt,omitzero"`
}

// consentInfo is an approval, or a confirmation of what cannot be seen.
type consentInfo struct {
	Zone   string    `json:"zone,omitempty"`
	Class  string    `json:"class,omitempty"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

type emergencyInfo struct {
	DistrustNow bool      `json:"distrustNow"`
	Deadline    time.Time `json:"deadline,omitzero"`
	Actor       string    `json:"actor"`
	Reason      string    `json:"reason"`
	At          time.Time `json:"at"`
}

type anchorInfo struct {
	ID       string    `json:"id"`
	Slot     string    `json:"slot"`
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"notAfter"`
}

type anchorChange struct {
	ID       string    `json:"id"`
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"notAfter"`
	Before   string    `json:"before,omitempty"`
	After    string    `json:"after,omitempty"`
}

type zoneInfo struct {
	Name        string         `json:"name"`
	Sequence    uint64         `json:"sequence"`
	Epoch       uint64         `json:"epoch"`
	Signer      string         `json:"signer,omitempty"`
	Commanded   bool           `json:"commanded"`
	Coverage    []coverageInfo `json:"coverage"`
	Leaves      []leavesInfo   `json:"leaves"`
	Lease       time.Time      `json:"lease,omitzero"`
	LastContact time.Time      `json:"lastContact,omitzero"`
	Excluded    string         `json:"excluded,omitempty"`
	Replicas    []replicaInfo  `json:"replicas"`
}

type coverageInfo struct {
	Class    string    `json:"class"`
	Sequence uint64    `json:"sequence"`
	Live     uint64    `json:"live"`
	Behind   uint64    `json:"behind"`
	Oldest   time.Time `json:"oldest,omitzero"`
}

type leavesInfo struct {
	Anchor    string    `json:"anchor"`
	Live      uint64    `json:"live"`
	HighWater time.Time `json:"highWater,omitzero"`
}

type replicaInfo struct {
	Name        string    `json:"name"`
	Sequence    uint64    `json:"sequence"`
	Epoch       uint64    `json:"epoch"`
	Signer      string    `json:"signer,omitempty"`
	Version     string    `json:"version,omitempty"`
	LastContact time.Time `json:"lastContact,omitzero"`
	ClockOffset string    `json:"clockOffset"`
	Halted      string    `json:"halted,omitempty"`
	Lease       time.Time `json:"lease,omitzero"`
}

type blockerInfo struct {
	Zone    string    `json:"zone,omitempty"`
	Replica string    `json:"replica,omitempty"`
	Code    string    `json:"code"`
	Why     string    `json:"why"`
	Until   time.Time `json:"until,omitzero"`
}

type stepInfo struct {
	Phase       string    `json:"phase"`
	Does        string    `json:"does"`
	EndsWhen    string    `json:"endsWhen"`
	EarliestEnd time.Time `json:"earliestEnd,omitzero"`
}

// timeAt is a time of the wire, zero where there is none.
func timeAt(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// each turns a list of the wire into one that is never null in JSON.
func each[W, I any](wire []W, info func(W) I) []I {
	list := make([]I, 0, len(wire))
	for _, w := range wire {
		list = append(list, info(w))
	}
	return list
}

func rotationInfoOf(s *kedgev1.RotationStatus, v verdict) rotationInfo {
	info := rotationInfo{
		Verdict: v.word(), Because: v.because, Now: timeAt(s.GetNow()), TrustDomain: s.GetTrustDomain(), Sequence: s.GetSequence(),
		Anchors: each(s.GetAnchors(), anchorInfoOf), Zones: each(s.GetZones(), zoneInfoOf), Blockers: each(s.GetBlockers(), blockerInfoOf),
		Steps: each(s.GetSteps(), stepInfoOf), Diff: each(s.GetDiff(), anchorChangeOf), Next: s.GetNextStep(),
		EarliestEnd: timeAt(s.GetEarliestEnd()), Halted: s.GetHalted(), Proposal: s.GetProposal(), ProposedAt: timeAt(s.GetProposedAt()),
	}
	if s.GetPlan() != nil {
		plan := planInfoOf(s.GetPlan())
		info.Plan = &plan
	}
	return info
}

func planInfoOf(p *kedgev1.RotationPlan) planInfo {
	info := planInfo{
		ID: p.GetId(), Phase: p.GetPhase(), Since: timeAt(p.GetSince()), Mode: p.GetMode(), Paused: p.GetPaused(),
		Advanced: p.GetAdvanced(), Trouble: p.GetTrouble(), Old: p.GetOldAnchor(), OldNotAfter: timeAt(p.GetOldNotAfter()),
		New: p.GetNewAnchor(), Standby: p.GetStandby(), Epoch: p.GetEpoch(), Sequence: p.GetSequence(), Needed: p.GetNeeded(),
		HighWater: timeAt(p.GetHighWater()), Skew: p.GetSkew().AsDuration().String(), Dwell: p.GetDwell().AsDuration().String(),
		Window: p.GetWindow(), ApprovalsNeeded: p.GetApprovalsNeeded(), Actor: p.GetActor(), Reason: p.GetReason(),
		StartedAt: timeAt(p.GetStartedAt()), EndedAt: timeAt(p.GetEndedAt()),
		Approvals: each(p.GetApprovals(), func(a *kedgev1.RotationApproval) consentInfo {
			return consentInfo{Actor: a.GetActor(), At: timeAt(a.GetAt())}
		}),
		Confirmations: each(p.GetConfirmations(), func(c *kedgev1.RotationConfirmation) consentInfo {
			return consentInfo{c.GetZone(), c.GetClass(), c.GetActor(), c.GetReason(), timeAt(c.GetAt())}
		}),
	}
	if e := p.GetEmergency(); e != nil {
		info.Emergency = &emergencyInfo{e.GetDistrustNow(), timeAt(e.GetDeadline()), e.GetActor(), e.GetReason(), timeAt(e.GetAt())}
	}
	return info
}

func anchorInfoOf(a *kedgev1.RotationAnchor) anchorInfo {
	return anchorInfo{a.GetId(), a.GetSlot(), a.GetSubject(), timeAt(a.GetNotAfter())}
}

func anchorChangeOf(c *kedgev1.AnchorChange) anchorChange {
	return anchorChange{c.GetId(), c.GetSubject(), timeAt(c.GetNotAfter()), c.GetBefore(), c.GetAfter()}
}

func zoneInfoOf(z *kedgev1.RotationZone) zoneInfo {
	return zoneInfo{
		Name: z.GetName(), Sequence: z.GetSequence(), Epoch: z.GetEpoch(), Signer: z.GetSigner(), Commanded: z.GetCommanded(),
		Lease: timeAt(z.GetLease()), LastContact: timeAt(z.GetLastContact()), Excluded: z.GetExcluded(),
		Coverage: each(z.GetCoverage(), func(c *kedgev1.RotationCoverage) coverageInfo {
			return coverageInfo{c.GetClass(), c.GetSequence(), c.GetLive(), c.GetBehind(), timeAt(c.GetOldest())}
		}),
		Leaves: each(z.GetLeaves(), func(l *kedgev1.RotationLeaves) leavesInfo {
			return leavesInfo{l.GetAnchor(), l.GetLive(), timeAt(l.GetHighWater())}
		}),
		Replicas: each(z.GetReplicas(), replicaInfoOf),
	}
}

func replicaInfoOf(r *kedgev1.RotationReplica) replicaInfo {
	return replicaInfo{
		r.GetName(), r.GetSequence(), r.GetEpoch(), r.GetSigner(), r.GetVersion(), timeAt(r.GetLastContact()),
		r.GetClockOffset().AsDuration().String(), r.GetHalted(), timeAt(r.GetLease()),
	}
}

func blockerInfoOf(b *kedgev1.RotationBlocker) blockerInfo {
	return blockerInfo{b.GetZone(), b.GetReplica(), b.GetCode(), b.GetWhy(), timeAt(b.GetUntil())}
}

func stepInfoOf(s *kedgev1.RotationStep) stepInfo {
	return stepInfo{s.GetPhase(), s.GetDoes(), s.GetEndsWhen(), timeAt(s.GetEarliestEnd())}
}
