package rotation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

func earliest(p rotation.Preview) map[rotation.Phase]time.Duration {
	ends := make(map[rotation.Phase]time.Duration)
	for _, f := range p.Phases {
		ends[f.Phase] = f.Earliest.Sub(start)
	}
	return ends
}

// TestPreviewSaysWhenEachPhaseCanEnd: a lifetime of leaves until everybody has
// renewed, and another until the last old one is dead.
func TestPreviewSaysWhenEachPhaseCanEnd(t *testing.T) {
	p := made(t, nil).Preview(start, everybody(7, oldID, 41))
	require.Equal(t, map[rotation.Phase]time.Duration{
		rotation.Staged: 0, rotation.Distributing: lifetime + 2*skew, rotation.Activating: lifetime + 2*skew,
		rotation.Draining: 2*lifetime + 3*skew, rotation.Retiring: 2*lifetime + 3*skew,
	}, earliest(p))
	require.Equal(t, []ca.AnchorID{newID}, p.Add)
	require.Equal(t, []ca.AnchorID{oldID}, p.Drop)

	standby := made(t, func(s *rotation.Start) { s.Standby = 30 }).Preview(start, everybody(7, oldID, 41))
	require.Equal(t, lifetime+3*skew, earliest(standby)[rotation.Retiring])
	require.Empty(t, standby.Add)

	dwell := made(t, func(s *rotation.Start) {
		s.Standby, s.Dwell = 30, 2*lifetime
		s.Window, _ = rotation.ParseWindow("08:00-10:00")
	}).Preview(start, everybody(7, oldID, 41))
	require.Equal(t, map[rotation.Phase]time.Duration{
		rotation.Staged: 20 * time.Hour, rotation.Distributing: 68 * time.Hour, rotation.Activating: 68 * time.Hour,
		rotation.Draining: 116 * time.Hour, rotation.Retiring: 116 * time.Hour,
	}, earliest(dwell))

	aborting := act(t)(in(t, rotation.Activating, nil).Abort("ada", "to see", start)).Preview(start, everybody(8, newID, 42))
	require.Equal(t, map[rotation.Phase]time.Duration{rotation.Aborting: lifetime + skew}, earliest(aborting))
	require.Empty(t, aborting.Drop)
	require.Equal(t, []rotation.Code{rotation.CodeEpoch, rotation.CodeEpoch, rotation.CodeEpoch}, codes(aborting.Blockers[:3]))

	e := stolen()
	e.Deadline = start.Add(time.Hour)
	urgent := made(t, func(s *rotation.Start) { s.Standby, s.Emergency = 30, &e }).Preview(start, everybody(7, oldID, 41))
	require.Equal(t, time.Hour, earliest(urgent)[rotation.Retiring])
}

// TestPreviewOfWhatIsOverIsEmpty: nothing is to come.
func TestPreviewOfWhatIsOverIsEmpty(t *testing.T) {
	p := act(t)(made(t, nil).Abort("ada", "to see", start))
	require.Equal(t, rotation.Preview{}, p.Preview(start, nil))
}
