package sqlite

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/storetest"
)

// The store is closed and opened again while clients are at it.
func TestDocumentsAreLinear(t *testing.T) {
	dir := storeDir(t)
	var mu sync.Mutex
	current := openStore(t, dir)
	require.True(t, storetest.IsLinear(t, storetest.Linear{
		Calls: 3000,
		Documents: func(int) ca.Documents {
			mu.Lock()
			defer mu.Unlock()
			return current
		},
		Disturb: func() {
			mu.Lock()
			defer mu.Unlock()
			require.NoError(t, current.Close())
			current = openStore(t, dir)
		},
	}))
}
