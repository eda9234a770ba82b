package rotationapi

import (
	"fmt"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/rotation"
)

// does says for people what changes in a phase.
func does(p rotation.Plan, phase rotation.Phase) string {
	switch phase {
	case rotation.Staged:
		return "nothing is published; operators agree"
	case rotation.Distributing:
		if p.NewPublished {
			return "nothing is published: the bundle has the new anchor already"
		}
		return "the bundle has both anchors; nobody signs under the new one"
	case rotation.Activating:
		return "zone by zone, signing moves to the new anchor"
	case rotation.Draining:
		return "leaves under the old anchor are renewed, or die"
	case rotation.Retiring:
		return "the bundle loses the old anchor"
	case rotation.Aborting:
		return "zones sign under the old anchor again; leaves under the new one die"
	}
	return ""
}

func steps(p rotation.Plan, preview rotation.Preview) []*kedgev1.RotationStep {
	var all []*kedgev1.RotationStep
	for _, f := range preview.Phases {
		all = append(all, &kedgev1.RotationStep{Phase: string(f.Phase), Does: does(p, f.Phase), EndsWhen: f.Waits, EarliestEnd: at(f.Earliest)})
	}
	return all
}

// nextStep says what comes next and why not yet.
func nextStep(p rotation.Plan, preview rotation.Preview, blockers []rotation.Blocker) string {
	if p.Paused {
		return "nothing, the rotation is paused: ca rotate resume"
	}
	next := string(p.Phase) + " ends"
	if len(preview.Phases) > 1 {
		next = string(preview.Phases[1].Phase)
	}
	if len(blockers) == 0 {
		return next
	}
	for _, b := range blockers {
		switch {
		case b.Code == rotation.CodeAdvance && len(blockers) == 1:
			return next + ", when an operator lets it: ca rotate advance"
		case b.Code == rotation.CodeApproval && len(blockers) == 1:
			return next + ", when another operator agrees: ca rotate approve"
		}
	}
	text := fmt.Sprintf("%s; not yet: %s", next, blockers[0])
	if more := len(blockers) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}
