package rotation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

func TestMergeSaysOnlyWhatHoldsOfEachReplica(t *testing.T) {
	one := rotation.Report{
		Zone: "a", Replica: "0", Epoch: 8, Signer: newID, Sequence: 42, BundleHash: "x", Version: "1.2", Received: start.Add(time.Second), Lease: start.Add(time.Hour),
		Coverage: map[ca.VerifierClass]ca.Coverage{
			ca.ClassRenewal: {Sequence: 42, Live: 3}, ca.ClassPush: {Sequence: 42, Live: 1},
		},
		HighWater: map[ca.AnchorID]time.Time{oldID: start}, Live: map[ca.AnchorID]int{oldID: 1}, Canary: map[ca.AnchorID]string{newID: ""},
	}
	two := rotation.Report{
		Zone: "a", Replica: "1", Epoch: 7, Signer: oldID, Sequence: 41, BundleHash: "y", Version: "1.1", Received: start, Clock: start, Halted: "a drill",
		Coverage:  map[ca.VerifierClass]ca.Coverage{ca.ClassRenewal: {Sequence: 40, Live: 5, Behind: 2, Oldest: start.Add(time.Minute)}},
		HighWater: map[ca.AnchorID]time.Time{oldID: start.Add(time.Hour)}, Live: map[ca.AnchorID]int{oldID: 2}, Canary: map[ca.AnchorID]string{newID: "unknown authority"},
	}
	gone := rotation.Report{
		Zone: "a", Replica: "2", Removed: true, Epoch: 3, Live: map[ca.AnchorID]int{oldID: 4}, Lease: start.Add(2 * time.Hour),
	}
	merged, ok := rotation.Merge([]rotation.Report{gone, one, two})
	require.True(t, ok)
	require.Equal(t, rotation.Report{
		Zone: "a", Epoch: 7, Sequence: 41, Version: "1.1", Received: start, Clock: start, Halted: "a drill", Lease: start.Add(2 * time.Hour),
		Coverage: map[ca.VerifierClass]ca.Coverage{
			ca.ClassRenewal: {Sequence: 40, Live: 8, Behind: 2, Oldest: start.Add(time.Minute)}, ca.ClassPush: {Sequence: 42, Live: 1},
		},
		HighWater: map[ca.AnchorID]time.Time{oldID: start.Add(time.Hour)}, Live: map[ca.AnchorID]int{oldID: 7}, Canary: map[ca.AnchorID]string{newID: "unknown authority"},
	}, merged)
	_, ok = rotation.Merge([]rotation.Report{gone})
	require.False(t, ok)
}
