package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
)

func mark(t *testing.T, s *Store) store.Mark {
	t.Helper()
	m, err := s.Mark(t.Context())
	require.NoError(t, err)
	return m
}

// A backup is put back after each kind of write. Serials cannot repeat all the
// same: they are random.
func TestMarkFindsAStoreThatWasPutBack(t *testing.T) {
	for name, row := range map[string]struct {
		write func(t *testing.T, s *Store)
		want  string
	}{
		"nothing was written": {func(*testing.T, *Store) {}, ""},
		"a record":            {func(t *testing.T, s *Store) { intend(t, s, 5, 6) }, "its log of records ends at 5, and 6 were written"},
		"an event": {func(t *testing.T, s *Store) {
			require.NoError(t, s.Append(t.Context(), ca.Event{Actor: "uid:0", Action: "test"}))
		}, "its log of events ends at 0, and 1 were written"},
		"a document": {func(t *testing.T, s *Store) {
			_, err := s.PutDocument(t.Context(), "plan", "one", 0, []byte("x"))
			require.NoError(t, err)
		}, "its documents and states have changed 1 times, and had changed 2 times before"},
		"a document that was deleted again": {func(t *testing.T, s *Store) {
			version, err := s.PutDocument(t.Context(), "plan", "one", 0, []byte("x"))
			require.NoError(t, err)
			require.NoError(t, s.DeleteDocument(t.Context(), "plan", "one", version))
		}, "have changed 1 times, and had changed 3 times before"},
		"a state": {func(t *testing.T, s *Store) {
			_, err := s.Replace(t.Context(), 1, ca.State{BundleSeq: 2})
			require.NoError(t, err)
		}, "have changed 1 times, and had changed 2 times before"},
		"two openings": {func(t *testing.T, s *Store) {
			require.NoError(t, s.Close())
			for range 2 {
				again, err := Open(Config{Dir: filepath.Dir(s.path)})
				require.NoError(t, err)
				require.NoError(t, again.Close())
			}
		}, "it has been opened 2 times, and was opened 4 times before"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := storeDir(t)
			s := openStore(t, dir)
			intend(t, s, 0, 5)
			_, err := s.Replace(t.Context(), 0, ca.State{BundleSeq: 1})
			require.NoError(t, err)
			require.NoError(t, s.Close())
			backup, err := os.ReadFile(filepath.Join(dir, fileName))
			require.NoError(t, err)

			s = openStore(t, dir)
			row.write(t, s)
			require.NoError(t, s.Close())
			s = openReadOnly(t, dir)
			noted := mark(t, s)
			require.NoError(t, s.Holds(t.Context(), noted))
			require.NoError(t, s.Close())

			require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), backup, 0o600))
			s = openStore(t, dir)
			if err = s.Holds(t.Context(), noted); row.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, store.ErrBehind)
			require.ErrorContains(t, err, row.want)
		})
	}
}

func openReadOnly(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir, ReadOnly: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestMarkFindsAForkAndAnotherStore(t *testing.T) {
	dir := storeDir(t)
	s := openStore(t, dir)
	intend(t, s, 0, 5)
	require.NoError(t, s.Close())
	copied := storeDir(t)
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	require.NoError(t, os.Chmod(copied, 0o700))
	for _, file := range []string{fileName, "lock"} {
		require.NoError(t, os.Chmod(filepath.Join(copied, file), 0o600))
	}

	s = openStore(t, dir)
	intend(t, s, 5, 7)
	noted := mark(t, s)
	fork := openStore(t, copied)
	intend(t, fork, 100, 110)
	err := fork.Holds(t.Context(), noted)
	require.ErrorIs(t, err, store.ErrBehind)
	require.ErrorContains(t, err, "two servers have gone on from one copy")

	err = openStore(t, storeDir(t)).Holds(t.Context(), noted)
	require.ErrorIs(t, err, store.ErrBehind)
	require.ErrorContains(t, err, "its name is")

	intend(t, s, 7, 20)
	require.NoError(t, s.Holds(t.Context(), noted), "it has only grown")
	require.NoError(t, s.Close())
	err = s.Holds(t.Context(), noted)
	require.Error(t, err)
	require.NotErrorIs(t, err, store.ErrBehind, "what cannot be read is not judged")
}

func TestOpenRefusesAStoreWhoseContentWasMoved(t *testing.T) {
	dir := storeDir(t)
	s := openStore(t, dir)
	intend(t, s, 0, 2)
	require.NoError(t, s.Close())
	tamper(t, dir, "UPDATE store SET moved_to = 'postgres://db/kedge'")
	_, err := Open(Config{Dir: dir})
	require.ErrorContains(t, err, "its content was moved to postgres://db/kedge")
	require.EqualValues(t, 2, count(t, openReadOnly(t, dir)), "it can still be read")
}
