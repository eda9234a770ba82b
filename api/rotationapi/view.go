package rotationapi

import (
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// View is what the primary knows of the rotation.
type View struct {
	Bundle *ca.Bundle    // in force
	Plan   rotation.Plan // the last one; without an id there never was one
	// New is the certificate of the plan's new anchor; nil where the bundle has it, or
	// where it is not known.
	New     *x509.Certificate
	Reports []rotation.Report // the last of every replica
	// Blockers are those that the primary has found beside the plan's own.
	Blockers   []rotation.Blocker
	Halted     string    // why nothing is issued, "" while it is
	Proposal   string    // why a rotation should be started, "" when it need not
	ProposedAt time.Time // since when
}

// HasPlan tells whether there ever was a rotation.
func (v View) HasPlan() bool { return v.Plan.ID != "" }

// IsUnderWay tells whether a rotation is.
func (v View) IsUnderWay() bool { return v.HasPlan() && !v.Plan.IsOver() }

// zone is what is known of one zone.
type zone struct {
	name     rotation.Zone
	state    rotation.ZoneState // zero where the plan does not have it
	merged   rotation.Report
	reported bool
	replicas []rotation.Report
}

// zones are those of the plan in its order, and then the others by name.
func (v View) zones() []zone {
	by := make(map[rotation.Zone]*zone)
	var order []rotation.Zone
	if v.IsUnderWay() {
		for _, s := range v.Plan.Zones {
			by[s.Name] = &zone{name: s.Name, state: s}
			order = append(order, s.Name)
		}
	}
	var others []rotation.Zone
	for _, r := range v.Reports {
		if by[r.Zone] == nil {
			by[r.Zone] = &zone{name: r.Zone}
			others = append(others, r.Zone)
		}
		by[r.Zone].replicas = append(by[r.Zone].replicas, r)
	}
	slices.Sort(others)
	var all []zone
	for _, name := range append(order, others...) {
		z := by[name]
		z.merged, z.reported = rotation.Merge(z.replicas)
		z.replicas = slices.DeleteFunc(z.replicas, func(r rotation.Report) bool { return r.Removed })
		slices.SortFunc(z.replicas, func(a, b rotation.Report) int { return strings.Compare(a.Replica, b.Replica) })
		if z.reported || v.IsUnderWay() && z.state.Name != "" {
			all = append(all, *z)
		}
	}
	return all
}
