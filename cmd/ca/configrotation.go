package main

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// rotationConfig is how rotations go, unless one is started otherwise.
type rotationConfig struct {
	Mode string `yaml:"mode" json:"mode"` // manual or auto
	// Dwell is the least time in a phase of an automatic rotation.
	Dwell duration `yaml:"dwell" json:"dwell"`
	// Window is when an automatic rotation may act, in UTC; "" is always.
	Window string `yaml:"window" json:"window,omitempty"`
	// Skew is how far any clock, of a replica or of a verifier, may be from the primary's.
	Skew duration `yaml:"skew" json:"skew"`
	// Schedule proposes a rotation at half of the active anchor's life; an automatic one
	// is started.
	Schedule bool `yaml:"schedule" json:"schedule"`
	// Approvals is how many operators have to agree, the one who starts it included.
	Approvals int `yaml:"approvals" json:"approvals"`
	// Operators may start rotations and agree to them: "uid:0", "spiffe://…". None is
	// whoever may use the local socket.
	Operators []string `yaml:"operators" json:"operators,omitempty"`
}

// Bounds of a rotation's settings.
const (
	maxDwell     = 7 * 24 * time.Hour
	maxClockSkew = time.Hour
	maxApprovals = 16
)

func defaultRotation() rotationConfig {
	return rotationConfig{Mode: string(rotation.ModeManual), Dwell: duration(15 * time.Minute), Skew: duration(5 * time.Minute), Schedule: true, Approvals: 1}
}

// rotationProblems checks the section.
func (c *config) rotationProblems(add addProblem) {
	r := c.Rotation
	if c.isZone() && !r.equal(defaultRotation()) {
		add("rotation", "the primary runs rotations: leave the section out")
		return
	}
	if mode := rotation.Mode(r.Mode); mode != rotation.ModeManual && mode != rotation.ModeAuto {
		add("rotation.mode", "%q is neither %s nor %s", r.Mode, rotation.ModeManual, rotation.ModeAuto)
	}
	if d := time.Duration(r.Dwell); d > maxDwell {
		add("rotation.dwell", "%s is above %s", d, maxDwell)
	}
	if s := time.Duration(r.Skew); s < time.Second || s > maxClockSkew {
		add("rotation.skew", "%s is not within 1s and %s", s, maxClockSkew)
	}
	if _, err := rotation.ParseWindow(r.Window); err != nil {
		add("rotation.window", "%v", err)
	}
	seen := make(map[string]bool)
	for i, o := range r.Operators {
		path := fmt.Sprintf("rotation.operators[%d]", i)
		if err := c.checkOperator(o); err != nil {
			add(path, "%v", err)
		}
		if seen[o] {
			add(path, "%q is named twice", o)
		}
		seen[o] = true
	}
	switch {
	case r.Approvals < 1 || r.Approvals > maxApprovals:
		add("rotation.approvals", "%d is not within 1 and %d", r.Approvals, maxApprovals)
	case r.Approvals > 1 && len(r.Operators) < r.Approvals:
		add("rotation.approvals", "%d operators have to agree, and rotation.operators names %d", r.Approvals, len(r.Operators))
	}
}

// checkOperator refuses what no caller can be.
func (c *config) checkOperator(o string) error {
	if id, found := strings.CutPrefix(o, "uid:"); found {
		if n, err := strconv.ParseUint(id, 10, 32); err != nil || strconv.FormatUint(n, 10) != id {
			return fmt.Errorf("%q is not a user such as uid:0", o)
		}
		return nil
	}
	identity, err := ca.ParseIdentity(o)
	if err != nil {
		return fmt.Errorf("%q is neither a user such as uid:0 nor a SPIFFE ID: %w", o, err)
	}
	if domain, err := c.domain(); err == nil && !identity.MemberOf(domain) {
		return fmt.Errorf("%q is not of trust domain %s: nobody can prove to be it", o, domain)
	}
	return nil
}

// isOperator tells whether an actor may start rotations and agree to them over the
// local socket, which has let it in.
func (r rotationConfig) isOperator(actor string) bool {
	return len(r.Operators) == 0 || slices.Contains(r.Operators, actor)
}

// isRemoteOperator tells it of an identity that a certificate proves: it has to be
// named, because every workload has a certificate.
func (r rotationConfig) isRemoteOperator(actor string) bool {
	return slices.Contains(r.Operators, actor)
}

func (r rotationConfig) equal(o rotationConfig) bool { return reflect.DeepEqual(r, o) }
