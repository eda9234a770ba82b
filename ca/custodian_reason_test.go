package ca_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// A root that was replaced under a running server is the operator's to mend: the
// error has the reason whose next step says so, not "internal".
func TestAWrongAnswerOfTheRootHasItsReason(t *testing.T) {
	w := newCustody(t)
	_, err := w.Tick(t.Context(), catest.Start, false)
	require.NoError(t, err)
	w.root.c.RootKey = catest.GenerateKey(t, fips.ECDSAP256)
	w.root.c.Root = catest.RootCertificate(t, w.root.c, w.root.c.RootKey)
	supply, err := w.Tick(t.Context(), catest.Start.Add(84*time.Hour), false)
	require.Equal(t, ca.ReasonRootMismatch, ca.ReasonOf(err), "%v", err)
	require.NotNil(t, supply.Intermediate, "the old one signs on")
}
