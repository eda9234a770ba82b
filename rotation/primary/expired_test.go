package primary_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation/rotationtest"
)

// fresh is the certificate of a new root.
func fresh(w *rotationtest.World) *x509.Certificate {
	w.T.Helper()
	root, err := w.Primary().RootFor(rotationtest.PrimaryZone, "any")(w.T.Context(), w.NewRoot())
	require.NoError(w.T, err)
	cert, err := root.Anchor(w.T.Context())
	require.NoError(w.T, err)
	return cert
}

func TestAnchorThatHasExpiredIsReplacedAndZonesFindTheNewOne(t *testing.T) {
	w := rotationtest.New(t, rotationtest.Config{})
	err := w.Primary().ReplaceExpired(t.Context(), fresh(w), "uid:0")
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err), "it lives")
	require.ErrorContains(t, err, "use a rotation")

	w.Age(ca.RootLifetime + time.Hour)
	next := fresh(w)
	require.NoError(t, w.Primary().ReplaceExpired(t.Context(), next, "uid:0"))
	require.NoError(t, w.Primary().ReplaceExpired(t.Context(), next, "uid:0"), "again changes nothing")
	require.Equal(t, map[ca.AnchorID]ca.Slot{ca.AnchorIDOf(next): ca.SlotActive}, anchors(w))
	w.Settle()
	s, err := w.Primary().Status(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, s.Bundle.Sequence())
	for _, z := range s.Zones {
		require.Equal(t, s.Bundle.Sequence(), z.Report.Sequence, z.Name)
		require.Equal(t, ca.AnchorIDOf(next), z.Report.Signer, z.Name)
	}
}
