package simulate

import (
	"errors"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/rotation"
)

// Duration is a time.Duration that is written with its unit, as 90s or 24h.
type Duration time.Duration

// UnmarshalText reads a duration with its unit.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a duration such as 30s, 15m or 24h", text)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes it as people do; what is below zero is never.
func (d Duration) String() string {
	if d < 0 {
		return "never"
	}
	return time.Duration(d).String()
}

// Scenario is what is simulated. Default has what is left out.
type Scenario struct {
	Seed      uint64 `yaml:"seed" json:"seed"` // 0: the caller draws one
	Zones     int    `yaml:"zones" json:"zones"`
	Replicas  int    `yaml:"replicas" json:"replicas"`   // of each zone
	Consumers int    `yaml:"consumers" json:"consumers"` // of each zone: they hold a leaf and verify
	// Push is the share of consumers that acknowledge a bundle when it is pushed; the
	// others learn of it when they renew.
	Push float64 `yaml:"push" json:"push"`

	LeafTTL Duration `yaml:"leafTTL" json:"leafTTL"`
	// RenewAt is the part of its life after which a leaf is renewed, and Jitter how much
	// earlier or later, as a part of that.
	RenewAt      float64  `yaml:"renewAt" json:"renewAt"`
	Jitter       float64  `yaml:"jitter" json:"jitter"`
	Churn        float64  `yaml:"churn" json:"churn"`               // the share of consumers that vanish instead of renewing; others take their place
	Intermediate Duration `yaml:"intermediate" json:"intermediate"` // lifetime
	Capacity     int      `yaml:"capacity" json:"capacity"`         // certificates a second of one replica

	Loss float64  `yaml:"loss" json:"loss"` // the share of reports, commands, bundles and acknowledgements that are lost, and tried again in the next step
	Lag  Duration `yaml:"lag" json:"lag"`   // of each of them, in the mean

	Standby bool          `yaml:"standby" json:"standby"` // every verifier has the new anchor already
	Mode    rotation.Mode `yaml:"mode" json:"mode"`
	// Operator is how long it takes until somebody lets a manual phase go, excludes a
	// zone, or takes it back.
	Operator Duration `yaml:"operator" json:"operator"`
	Dwell    Duration `yaml:"dwell" json:"dwell"`
	Window   string   `yaml:"window" json:"window,omitempty"`
	Skew     Duration `yaml:"skew" json:"skew"`
	// Reissue asks every holder of an old leaf for a renewal once its replica signs under
	// the new anchor, at a moment within Spread.
	Reissue bool     `yaml:"reissue" json:"reissue"`
	Spread  Duration `yaml:"spread" json:"spread"`

	Silences []Silence `yaml:"silences" json:"silences,omitempty"`
	Storms   []Storm   `yaml:"storms" json:"storms,omitempty"`
	AbortAt  Duration  `yaml:"abortAt" json:"abortAt,omitzero"` // 0: no abort
	// Emergency is decided while the plan is under way.
	Emergency *Emergency `yaml:"emergency" json:"emergency,omitempty"`

	Step  Duration `yaml:"step" json:"step"`   // of virtual time; rates are means over it
	Limit Duration `yaml:"limit" json:"limit"` // when to give up
}

// Silence is a number of zones that the primary does not hear of, and that do not hear
// of it.
type Silence struct {
	Zones int      `yaml:"zones" json:"zones"`
	From  Duration `yaml:"from" json:"from"`
	For   Duration `yaml:"for" json:"for"` // 0: until the end
	// Dead zones issue nothing; others go on under their intermediates.
	Dead    bool `yaml:"dead" json:"dead"`
	Exclude bool `yaml:"exclude" json:"exclude"` // the operator goes on without them
}

// Storm is a share of all consumers that restart at once and need a leaf.
type Storm struct {
	At    Duration `yaml:"at" json:"at"`
	Share float64  `yaml:"share" json:"share"`
}

// Emergency is the decision to drop the old anchor.
type Emergency struct {
	At       Duration `yaml:"at" json:"at"`
	Distrust bool     `yaml:"distrust" json:"distrust"`
	Percent  int      `yaml:"percent" json:"percent"`   // of leaves that are followed by new ones, when it is enough; 0: all
	Deadline Duration `yaml:"deadline" json:"deadline"` // after At; 0: none
}

// Default is a middling installation.
func Default() Scenario {
	return Scenario{
		Zones: 10, Replicas: 2, Consumers: 1000, LeafTTL: Duration(24 * time.Hour), RenewAt: 0.5, Jitter: 0.1, Churn: 0.02,
		Intermediate: Duration(7 * 24 * time.Hour), Capacity: 1000, Loss: 0.01, Lag: Duration(time.Second),
		Mode: rotation.ModeAuto, Operator: Duration(15 * time.Minute), Skew: Duration(5 * time.Minute),
		Reissue: true, Spread: Duration(30 * time.Minute), Step: Duration(time.Minute), Limit: Duration(30 * 24 * time.Hour),
	}
}

// Bounds of what is simulated: of everything that memory and time grow with.
const (
	maxReplicas  = 20_000 // zones × replicas
	maxPerZone   = 60_000 // consumers of one replica, so that cohorts fit 16 bits
	maxSteps     = 10_000 // of a leaf's life
	maxSimulated = 400_000
)

// Check says what of a scenario cannot be simulated, all of it.
func (s Scenario) Check() error {
	var all []error
	demand := func(ok bool, text string, args ...any) {
		if !ok {
			all = append(all, fmt.Errorf(text, args...))
		}
	}
	demand(s.Zones > 0 && s.Replicas > 0 && s.Zones*s.Replicas <= maxReplicas, "zones: needs 1 to %d zones times replicas", maxReplicas)
	demand(s.Consumers >= s.Replicas && s.Replicas > 0 && s.Consumers/s.Replicas <= maxPerZone, "consumers: needs 1 to %d for each replica", maxPerZone)
	for name, share := range map[string]float64{"push": s.Push, "jitter": s.Jitter, "churn": s.Churn, "loss": s.Loss} {
		demand(share >= 0 && share < 1, "%s: is a share, from 0 to below 1", name)
	}
	demand(s.RenewAt > 0 && s.RenewAt*(1+s.Jitter) < 1, "renewAt: is a share, and with jitter below 1")
	demand(s.Step > 0 && s.LeafTTL >= 10*s.Step && s.LeafTTL/max(s.Step, 1) <= maxSteps, "step: a leaf has to live 10 to %d steps", maxSteps)
	demand(s.Limit > 0 && s.Limit/max(s.Step, 1) <= maxSimulated, "limit: is at most %d steps", maxSimulated)
	demand(s.Intermediate >= s.LeafTTL, "intermediate: lives at least as long as a leaf")
	demand(s.Capacity > 0, "capacity: is at least 1")
	demand(s.Mode == rotation.ModeAuto || s.Mode == rotation.ModeManual, "mode: is %s or %s", rotation.ModeAuto, rotation.ModeManual)
	for i, quiet := range s.Silences {
		demand(quiet.Zones > 0 && quiet.Zones <= s.Zones, "silences[%d].zones: needs 1 to %d", i, s.Zones)
	}
	for i, storm := range s.Storms {
		demand(storm.Share > 0 && storm.Share <= 1, "storms[%d].share: is above 0, and 1 at most", i)
	}
	demand(s.Emergency == nil || s.Emergency.Percent >= 0 && s.Emergency.Percent <= 100, "emergency.percent: is 0 to 100")
	if _, err := rotation.ParseWindow(s.Window); err != nil {
		all = append(all, fmt.Errorf("window: %w", err))
	}
	return errors.Join(all...)
}
