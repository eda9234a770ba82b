package upstream_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	apiupstream "github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/root/roottest"
	"github.com/kedge-ca/kedge/ca/root/upstream"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

func newRoot(t *testing.T, client upstreamv1.UpstreamClient) *upstream.Root {
	t.Helper()
	root, err := upstream.New(upstream.Config{Client: client, Policy: upstreamtest.Policy(t), Timeout: 10 * time.Second})
	require.NoError(t, err)
	return root
}

func TestRootConforms(t *testing.T) {
	client := upstreamtest.Serve(t, apiupstream.Config{
		Root: upstreamtest.NewRoot(t, catest.Start), Now: catest.NewClock().Now,
	})
	roottest.Run(t, roottest.Subject{
		Root: newRoot(t, client), TrustDomain: upstreamtest.Domain(t), Now: catest.Start, Policy: upstreamtest.Policy(t),
	})
}
