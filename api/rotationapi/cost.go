package rotationapi

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// Rate is how fast one replica issues certificates.
type Rate struct {
	PerSecond float64 // 0 is not known
	Source    string  // how that was measured, for people
}

// Cost is what it costs to drop an anchor now: the live leaves under it, by zone, and
// how long the slowest zone takes to issue as many with the replicas that it has. A
// zone that has not reported since silentBefore is named: its numbers are old. Of a
// zone that never reported there are none.
func Cost(v View, anchor ca.AnchorID, rate Rate, silentBefore time.Time) *kedgev1.EmergencyCost {
	cost := &kedgev1.EmergencyCost{IssueRate: rate.PerSecond, IssueRateSource: rate.Source}
	slowest := 0.0
	for _, z := range v.zones() {
		if !z.reported || z.merged.Received.Before(silentBefore) {
			cost.Unknown = append(cost.Unknown, string(z.name))
		}
		if !z.reported {
			continue
		}
		failing := count(z.merged.Live[anchor])
		cost.Failing += failing
		cost.Zones = append(cost.Zones, &kedgev1.ZoneCost{Zone: string(z.name), Failing: failing, LastExpiry: at(z.merged.HighWater[anchor])})
		slowest = max(slowest, float64(failing)/float64(max(len(z.replicas), 1)))
	}
	if rate.PerSecond > 0 {
		seconds := math.Ceil(slowest / rate.PerSecond)
		cost.Reissue = durationpb.New(time.Duration(min(seconds, math.MaxInt32)) * time.Second)
	}
	// Every client of ours, and Istio's, renews at half of a leaf's life.
	if v.Plan.LeafTTL > 0 {
		cost.Renewal = durationpb.New(v.Plan.LeafTTL / 2)
	}
	return cost
}
