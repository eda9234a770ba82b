package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// tableOfRotation is the status for people.
func (a *app) tableOfRotation(w *tabwriter.Writer, s *kedgev1.RotationStatus, v verdict) {
	now := timeAt(s.GetNow())
	p := s.GetPlan()
	switch {
	case p == nil:
		fmt.Fprintf(w, "trust domain %s, bundle %d: there was no rotation yet\n", s.GetTrustDomain(), s.GetSequence())
	default:
		tableOfPlan(w, s.GetTrustDomain(), p, now)
	}
	if s.GetHalted() != "" {
		fmt.Fprintf(w, "issuance is HALTED: %s\n", printable(s.GetHalted()))
	}
	if s.GetProposal() != "" {
		fmt.Fprintf(w, "%s: ca rotate plan\n", printable(s.GetProposal()))
	}
	if p == nil || isOver(p) {
		fmt.Fprintln(w)
		tableOfAnchors(w, s.GetAnchors(), now)
	} else {
		tableOfSteps(w, s.GetSteps(), p.GetPhase(), now)
	}
	a.tableOfZones(w, s, 0)
	tableOfBlockers(w, s.GetBlockers(), now)
	if s.GetNextStep() != "" {
		fmt.Fprintf(w, "\nnext: %s\n", printable(s.GetNextStep()))
	}
	if end := timeAt(s.GetEarliestEnd()); !end.IsZero() {
		fmt.Fprintf(w, "over at the earliest %s\n", relative(end, now))
	}
	if v.code != exitOK {
		fmt.Fprintf(w, "\n%s\n", v.word())
		for _, line := range v.because {
			fmt.Fprintf(w, "  %s\n", printable(line))
		}
	}
}

// tableOfPlan is the head: what moves where, and by whose order.
func tableOfPlan(w *tabwriter.Writer, domain string, p *kedgev1.RotationPlan, now time.Time) {
	state := p.GetMode()
	if p.GetPaused() {
		state += ", PAUSED"
	}
	fmt.Fprintf(w, "rotation %s of %s: %s since %s, %s\n", p.GetId(), domain, p.GetPhase(), relative(timeAt(p.GetSince()), now), state)
	fmt.Fprintf(w, "  from\t%.16s\tends %s\n", p.GetOldAnchor(), relative(timeAt(p.GetOldNotAfter()), now))
	was := "was in no bundle before"
	if p.GetStandby() {
		was = "was the standby: every verifier that holds bundle " + fmt.Sprint(p.GetNeeded()) + " has it"
	}
	fmt.Fprintf(w, "  to\t%.16s\t%s\n", p.GetNewAnchor(), was)
	fmt.Fprintf(w, "  bundle\t%d\tcommand %d\n", p.GetSequence(), p.GetEpoch())
	if high := timeAt(p.GetHighWater()); !high.IsZero() {
		fmt.Fprintf(w, "  last leaf\t%s\tends %s\n", "that drains", relative(high, now))
	}
	if p.GetActor() != "" {
		fmt.Fprintf(w, "  started\t%s\t%s\n", printable(p.GetActor()), printable(p.GetReason()))
	}
	if p.GetApprovalsNeeded() > 1 {
		fmt.Fprintf(w, "  approvals\t%d of %d\t%s\n", len(p.GetApprovals()), p.GetApprovalsNeeded(), printable(actorsOf(p.GetApprovals())))
	}
	if p.GetWindow() != "" {
		fmt.Fprintf(w, "  window\t%s\tUTC\n", printable(p.GetWindow()))
	}
	if p.GetTrouble() != "" {
		fmt.Fprintf(w, "  trouble\t%s\n", printable(p.GetTrouble()))
	}
	if e := p.GetEmergency(); e != nil {
		fmt.Fprintf(w, "  EMERGENCY\t%s\t%s: %s\n", emergencyKind(e), printable(e.GetActor()), printable(e.GetReason()))
	}
}

func emergencyKind(e *kedgev1.RotationEmergency) string {
	switch {
	case e.GetDistrustNow():
		return "distrust now"
	case e.GetDeadline() != nil:
		return "re-issue first, until " + timeAt(e.GetDeadline()).Format(time.RFC3339)
	}
	return "re-issue first"
}

func actorsOf(approvals []*kedgev1.RotationApproval) string {
	var names []string
	for _, a := range approvals {
		names = append(names, a.GetActor())
	}
	return strings.Join(names, ", ")
}

func tableOfAnchors(w *tabwriter.Writer, anchors []*kedgev1.RotationAnchor, now time.Time) {
	if len(anchors) == 0 {
		return
	}
	fmt.Fprint(w, "SLOT\tANCHOR\tSUBJECT\tEND\n")
	for _, a := range anchors {
		fmt.Fprintf(w, "%s\t%.16s\t%s\t%s\n", a.GetSlot(), a.GetId(), printable(a.GetSubject()), relative(timeAt(a.GetNotAfter()), now))
	}
}

// tableOfSteps lists the phases, with an arrow at the present one, and what that one,
// or with no present one each, ends on.
func tableOfSteps(w *tabwriter.Writer, steps []*kedgev1.RotationStep, phase string, now time.Time) {
	if len(steps) == 0 {
		return
	}
	fmt.Fprint(w, "\nPHASE\tENDS AT THE EARLIEST\tWHAT HAPPENS\n")
	for _, s := range steps {
		mark := "  "
		if s.GetPhase() == phase {
			mark = "→ "
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s\n", mark, s.GetPhase(), coming(timeAt(s.GetEarliestEnd()), now), printable(s.GetDoes()))
		if phase == "" || s.GetPhase() == phase {
			fmt.Fprintf(w, "\t\t  ends on: %s\n", printable(s.GetEndsWhen()))
		}
	}
}

// coming is a time that is now at the earliest.
func coming(t, now time.Time) string {
	if !t.IsZero() && !t.After(now) {
		return "now"
	}
	return relative(t, now)
}

// tableOfDiff is what changes in the bundle.
func tableOfDiff(w *tabwriter.Writer, diff []*kedgev1.AnchorChange, now time.Time) {
	if len(diff) == 0 {
		fmt.Fprint(w, "\nthe bundle does not change\n")
		return
	}
	fmt.Fprint(w, "\nBUNDLE\tANCHOR\tSUBJECT\tNOW\tTHEN\tEND\n")
	for _, c := range diff {
		mark := "  ~"
		switch {
		case c.GetBefore() == "":
			mark = "  +"
		case c.GetAfter() == "":
			mark = "  -"
		case c.GetBefore() == c.GetAfter():
			mark = "   "
		}
		fmt.Fprintf(w, "%s\t%.16s\t%s\t%s\t%s\t%s\n", mark, c.GetId(), printable(c.GetSubject()),
			firstOf(c.GetBefore(), "-"), firstOf(c.GetAfter(), "-"), relative(timeAt(c.GetNotAfter()), now))
	}
}

// tableOfZones has a line for each zone, and with a width a bar of its progress.
func (a *app) tableOfZones(w *tabwriter.Writer, s *kedgev1.RotationStatus, width int) {
	if len(s.GetZones()) == 0 {
		return
	}
	now, p := timeAt(s.GetNow()), s.GetPlan()
	fmt.Fprint(w, "\nZONE\tREPLICAS\tBUNDLE\tCOMMAND\tSIGNER\tCOVERAGE\tLEAVES TO GO\tLEASE\tCONTACT\n")
	for _, z := range s.GetZones() {
		name := printable(z.GetName())
		if z.GetExcluded() != "" {
			name += " (excluded)"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n", name, len(z.GetReplicas()), z.GetSequence(), z.GetEpoch(),
			firstOf(fmt.Sprintf("%.8s", z.GetSigner()), "differ"), bar(progressOf(z, p), width)+coverageText(z), leavesToGo(z, p, now),
			left(timeAt(z.GetLease()), now), ago(timeAt(z.GetLastContact()), now))
	}
}

// coverageText is who has the bundle, by class of verifiers.
func coverageText(z *kedgev1.RotationZone) string {
	var classes []string
	for _, c := range z.GetCoverage() {
		text := fmt.Sprintf("%s ≥ %d", printable(c.GetClass()), c.GetSequence())
		if c.GetBehind() > 0 {
			text += fmt.Sprintf(" (%s of %s behind)", thousands(c.GetBehind()), thousands(c.GetLive()))
		}
		classes = append(classes, text)
	}
	return firstOf(strings.Join(classes, ", "), "-")
}

// leavesToGo are the live leaves under the anchor that drains.
func leavesToGo(z *kedgev1.RotationZone, p *kedgev1.RotationPlan, now time.Time) string {
	for _, l := range z.GetLeaves() {
		if l.GetAnchor() == drainingAnchor(p) && l.GetLive() > 0 {
			return thousands(l.GetLive()) + ", last in " + left(timeAt(l.GetHighWater()), now)
		}
	}
	return "-"
}

// drainingAnchor is the anchor whose leaves have to die in this phase, "" in the
// others.
func drainingAnchor(p *kedgev1.RotationPlan) string {
	switch p.GetPhase() {
	case "activating", "draining", "retiring":
		return p.GetOldAnchor()
	case "aborting":
		return p.GetNewAnchor()
	}
	return ""
}

// progressOf is how much of the phase's work a zone has behind it, 0 to 1.
func progressOf(z *kedgev1.RotationZone, p *kedgev1.RotationPlan) float64 {
	var have, all uint64
	if anchor := drainingAnchor(p); anchor != "" {
		for _, l := range z.GetLeaves() {
			all += l.GetLive()
			if l.GetAnchor() != anchor {
				have += l.GetLive()
			}
		}
	} else {
		for _, c := range z.GetCoverage() {
			all, have = all+c.GetLive(), have+c.GetLive()-min(c.GetBehind(), c.GetLive())
		}
	}
	if all == 0 {
		return 1
	}
	return float64(have) / float64(all)
}

// bar draws a share; a width of 0 draws none.
func bar(share float64, width int) string {
	if width == 0 {
		return ""
	}
	full := int(share * float64(width))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full) + fmt.Sprintf(" %3.0f%%  ", share*100)
}

func tableOfBlockers(w *tabwriter.Writer, blockers []*kedgev1.RotationBlocker, now time.Time) {
	if len(blockers) == 0 {
		return
	}
	fmt.Fprint(w, "\nWAITS FOR\tZONE\tWHY\tUNTIL\n")
	for _, b := range blockers {
		who := b.GetZone()
		if b.GetReplica() != "" {
			who += "/" + b.GetReplica()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.GetCode(), firstOf(printable(who), "-"), printable(b.GetWhy()), relative(timeAt(b.GetUntil()), now))
	}
}

// left is what remains until a time.
func left(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case !t.After(now):
		return "over"
	}
	return short(t.Sub(now))
}

// ago is how long a time is past.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return short(max(now.Sub(t), 0)) + " ago"
}
