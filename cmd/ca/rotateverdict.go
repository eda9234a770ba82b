package main

import (
	"fmt"
	"time"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/rotation"
)

// verdict is what the exit code says, and why.
type verdict struct {
	code    int
	because []string
}

// raise notes a reason; the highest code is the verdict.
func (v *verdict) raise(code int, because string, args ...any) {
	v.code = max(v.code, code)
	v.because = append(v.because, fmt.Sprintf(because, args...))
}

func (v verdict) word() string {
	switch v.code {
	case exitBlocked:
		return "blocked"
	case exitAttention:
		return "attention"
	case exitUnsafe:
		return "unsafe"
	}
	return "ok"
}

// err ends the program with the verdict. What there is to say was printed.
func (v verdict) err() error {
	if v.code == exitOK {
		return nil
	}
	return &exitError{code: v.code}
}

// judge makes the verdict of a status. Anchors that end within a time are worth
// attention. It is pure.
func judge(s *kedgev1.RotationStatus, within time.Duration) verdict {
	v := verdict{}
	now := timeAt(s.GetNow())
	for _, a := range s.GetAnchors() {
		switch left := timeAt(a.GetNotAfter()).Sub(now); {
		case left <= 0 && a.GetSlot() == "active":
			v.raise(exitUnsafe, "the active anchor %.8s has expired", a.GetId())
		case left < within:
			v.raise(exitAttention, "anchor %.8s (%s) ends in %s", a.GetId(), a.GetSlot(), short(left))
		}
	}
	if s.GetHalted() != "" {
		v.raise(exitAttention, "issuance is halted: %s", s.GetHalted())
	}
	if s.GetProposal() != "" {
		v.raise(exitAttention, "%s", s.GetProposal())
	}
	v.judgeBlockers(s.GetBlockers(), timeAt(s.GetPlan().GetSince()), now)
	if p := s.GetPlan(); p != nil && !isOver(p) {
		v.judgePlan(s, p)
	}
	return v
}

// settling is how long after the beginning of a phase replicas may not have reported
// yet what it asks for; they report every 5 s.
const settling = time.Minute

// passes tells whether a blocker goes away by itself: leaves die, and in a phase that
// has just begun, replicas report.
func passes(b *kedgev1.RotationBlocker, since, now time.Time) bool {
	switch rotation.Code(b.GetCode()) {
	case rotation.CodeDraining, rotation.CodeLiveLeaves:
		return true
	case rotation.CodeBundleBehind, rotation.CodeEpoch, rotation.CodeSigner, rotation.CodeCanary:
		return now.Sub(since) < settling
	}
	return b.GetUntil() != nil
}

// judgeBlockers tells those that need somebody from those that pass by themselves.
func (v *verdict) judgeBlockers(blockers []*kedgev1.RotationBlocker, since, now time.Time) {
	for _, b := range blockers {
		switch {
		case b.GetCode() == string(rotation.CodeForked):
			v.raise(exitUnsafe, "%s", blockerLine(b))
		case !passes(b, since, now):
			v.raise(exitBlocked, "%s", blockerLine(b))
		}
	}
}

func (v *verdict) judgePlan(s *kedgev1.RotationStatus, p *kedgev1.RotationPlan) {
	if p.GetTrouble() != "" {
		v.raise(exitAttention, "the plan was automatic and waits for an operator since: %s", p.GetTrouble())
	}
	if end := timeAt(p.GetOldNotAfter()); !end.IsZero() && timeAt(p.GetHighWater()).After(end) {
		v.raise(exitUnsafe, "leaves under anchor %.8s outlive it", p.GetOldAnchor())
	}
	if inForce(s, p.GetOldAnchor()) {
		return
	}
	for _, z := range s.GetZones() {
		if n := liveUnder(z, p.GetOldAnchor()); n > 0 {
			v.raise(exitUnsafe, "zone %s: %s under anchor %.8s, which has left the bundle", z.GetName(), countOf(n, "live leaf", "live leaves"), p.GetOldAnchor())
		}
	}
}

func inForce(s *kedgev1.RotationStatus, anchor string) bool {
	for _, a := range s.GetAnchors() {
		if a.GetId() == anchor {
			return true
		}
	}
	return false
}

func liveUnder(z *kedgev1.RotationZone, anchor string) uint64 {
	for _, l := range z.GetLeaves() {
		if l.GetAnchor() == anchor {
			return l.GetLive()
		}
	}
	return 0
}

// blockerLine is a blocker in one line.
func blockerLine(b *kedgev1.RotationBlocker) string {
	line := b.GetWhy()
	if b.GetReplica() != "" {
		line = "replica " + b.GetReplica() + ": " + line
	}
	if b.GetZone() != "" {
		line = "zone " + b.GetZone() + ": " + line
	}
	return line
}

// countOf is a number with its noun, its thousands apart.
func countOf(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands writes 1234567 as 1 234 567.
func thousands(n uint64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
