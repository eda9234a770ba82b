package local_test

import (
	"testing"

	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/root/roottest"
	"github.com/stretchr/testify/require"
)

func TestRootConforms(t *testing.T) {
	w := newWorld(t)
	r, err := w.open()
	require.NoError(t, err)
	roottest.Run(t, roottest.Subject{
		Root: r, TrustDomain: w.TrustDomain, Now: catest.Start, Policy: w.Policy, IgnoresContext: true,
	})
}
