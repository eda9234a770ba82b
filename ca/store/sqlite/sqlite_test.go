package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/storetest"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

func TestStoreConforms(t *testing.T) {
	storetest.Run(t, func(t testing.TB, dir string) store.Store {
		s, err := Open(Config{Dir: filepath.Join(dir, "store")})
		require.NoError(t, err)
		return s
	})
}
