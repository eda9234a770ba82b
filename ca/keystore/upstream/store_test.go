package upstream_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	apiupstream "github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/keystoretest"
	"github.com/kedge-ca/kedge/ca/keystore/memory"
	"github.com/kedge-ca/kedge/ca/keystore/upstream"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

func newStore(t *testing.T, client upstreamv1.UpstreamClient) *upstream.Store {
	t.Helper()
	store, err := upstream.New(upstream.Config{Client: client, Policy: upstreamtest.Policy(t), Timeout: 10 * time.Second})
	require.NoError(t, err)
	return store
}

func TestStoreConforms(t *testing.T) {
	for _, keyType := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(keyType), func(t *testing.T) {
			keystoretest.Run(t, keystoretest.Subject{Open: func(t *testing.T) ca.KeyStore {
				keys, err := memory.New(keyType)
				require.NoError(t, err)
				return newStore(t, upstreamtest.Serve(t, apiupstream.Config{Keys: keys}))
			}})
		})
	}
}
