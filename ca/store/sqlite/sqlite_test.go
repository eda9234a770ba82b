package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
)

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestSmoke(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store"))
	require.NoError(t, s.Intend(t.Context(), ca.Record{Serial: "01", Identity: "spiffe://a/b"}))
	r, err := s.Records(t.Context(), ca.Query{})
	require.NoError(t, err)
	require.Len(t, r, 1)
	n, err := s.Verify(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}
