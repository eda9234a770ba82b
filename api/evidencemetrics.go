package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-ca/kedge/ca"
)

var (
	descCoverageLive     = prometheus.NewDesc("kedge_coverage_live", "Unexpired leaves by class of verifier.", []string{"class"}, nil)
	descCoverageBehind   = prometheus.NewDesc("kedge_coverage_behind", "Unexpired leaves whose holders are not known to hold the bundle in force.", []string{"class"}, nil)
	descCoverageSequence = prometheus.NewDesc("kedge_coverage_sequence", "Bundle that every verifier of a class is known to hold.", []string{"class"}, nil)
	descLeavesLive       = prometheus.NewDesc("kedge_leaves_live", "Unexpired leaves under an anchor.", []string{"anchor"}, nil)
	descLeavesEnd        = prometheus.NewDesc("kedge_leaves_not_after_timestamp_seconds", "End of the last leaf under an anchor.", []string{"anchor"}, nil)
)

// evidenceDescs are the gauges of what is outstanding.
func evidenceDescs() []*prometheus.Desc {
	return []*prometheus.Desc{descCoverageLive, descCoverageBehind, descCoverageSequence, descLeavesLive, descLeavesEnd}
}

// collectEvidence exports what rotations go by.
func collectEvidence(o ca.Outstanding, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	for class, c := range o.Coverage {
		gauge(descCoverageLive, float64(c.Live), string(class))
		gauge(descCoverageBehind, float64(c.Behind), string(class))
		gauge(descCoverageSequence, float64(c.Sequence), string(class))
	}
	for anchor, n := range o.Live {
		gauge(descLeavesLive, float64(n), anchor.String())
	}
	for anchor, end := range o.HighWater {
		gauge(descLeavesEnd, seconds(end), anchor.String())
	}
}
