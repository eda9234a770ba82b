package primary_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
	"github.com/kedge-ca/kedge/rotation/rotationtest"
)

func anchors(w *rotationtest.World) map[ca.AnchorID]ca.Slot {
	s, err := w.Primary().Status(w.T.Context())
	require.NoError(w.T, err)
	slots := make(map[ca.AnchorID]ca.Slot)
	for _, a := range s.Bundle.Anchors() {
		slots[ca.AnchorIDOf(a.Certificate)] = a.Slot
	}
	return slots
}

func TestRotationToAnAnchorOfNoBundleComesToItsEnd(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{})
	next := w.NewRoot()
	plan := w.Start(primary.StartRequest{New: next})
	require.Equal(t, rotation.Staged, plan.Phase)
	w.Until(rotation.Done)
	require.Equal(t, map[ca.AnchorID]ca.Slot{next: ca.SlotActive}, anchors(w))
}

func TestStandbyIsPromotedWithoutAnotherPublicationBeforeTheEnd(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{})
	next := w.NewRoot()
	require.NoError(t, w.Primary().AddStandby(t.Context(), next, "uid:0"))
	plan := w.Start(primary.StartRequest{})
	require.Equal(t, next, plan.New)
	w.Until(rotation.Draining)
	s, err := w.Primary().Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, plan.First, s.Bundle.Sequence())
	w.Until(rotation.Done)
	require.Equal(t, map[ca.AnchorID]ca.Slot{next: ca.SlotActive}, anchors(w))
}

func TestAbortFromEachPhaseEndsWithTheOldAnchor(t *testing.T) {
	for _, standby := range []bool{false, true} {
		for _, phase := range []rotation.Phase{rotation.Staged, rotation.Distributing, rotation.Activating, rotation.Draining} {
			t.Run(fmt.Sprintf("%s, standby %v", phase, standby), func(t *testing.T) {
				w := rotationtest.New(t, rotationtest.Config{Zones: 2})
				old, next := anchors(w), w.NewRoot()
				if standby {
					require.NoError(t, w.Primary().AddStandby(t.Context(), next, "uid:0"))
					old[next] = ca.SlotStandby
				}
				w.Start(primary.StartRequest{New: next})
				w.Until(phase)
				w.Abort()
				w.Until(rotation.Aborted)
				for range 30 {
					w.Step() // longer than a leaf lives
				}
				require.Equal(t, old, anchors(w))
			})
		}
	}
}
