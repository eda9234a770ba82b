package postgres

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/postgres/postgrestest"
	"github.com/kedge-ca/kedge/ca/store/storetest"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

// urlVar tells the child that the kill test starts where its parent's server is.
const urlVar = "KEDGE_POSTGRES_TEST_URL"

func TestStoreConforms(t *testing.T) {
	base := os.Getenv(urlVar)
	if base == "" {
		base = postgrestest.Start(t).URL("")
		t.Setenv(urlVar, base)
	}
	storetest.Run(t, func(t testing.TB, dir string) store.Store {
		return open(t, postgrestest.Database(t, base, databaseOf(dir)))
	})
}

func databaseOf(dir string) string {
	return fmt.Sprintf("kedge_%x", sha256.Sum256([]byte(filepath.Clean(dir))))[:30]
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	return openAs(t, url, "one")
}

func openAs(t testing.TB, url, replica string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url, Replica: replica})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func record(n int) ca.Record {
	return ca.Record{Serial: fmt.Sprintf("7e%030x", n), Identity: "spiffe://cluster.local/ns/team/sa/" + strings.Repeat("a", n%10)}
}

func count(t testing.TB, s *Store) uint64 {
	t.Helper()
	n, err := s.Verify(t.Context())
	require.NoError(t, err)
	return n
}
