package memory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/keystoretest"
	"github.com/kedge-ca/kedge/ca/keystore/memory"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

func TestStoreConforms(t *testing.T) {
	keystoretest.Run(t, keystoretest.Subject{Open: func(t *testing.T) ca.KeyStore {
		store, err := memory.New(fips.ECDSAP256)
		require.NoError(t, err)
		return store
	}})
}

func TestNewRefusesAnUnknownKeyType(t *testing.T) {
	_, err := memory.New("ed25519")
	require.ErrorContains(t, err, `unknown key type "ed25519"`)
}
