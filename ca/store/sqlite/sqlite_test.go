package sqlite

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
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

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func storeDir(t testing.TB) string { return filepath.Join(t.TempDir(), "store") }

// intend records the records numbered from to before to.
func intend(t testing.TB, s *Store, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		require.NoError(t, s.Intend(t.Context(), benchRecord(n)))
	}
}

func count(t testing.TB, s *Store) uint64 {
	t.Helper()
	n, err := s.Verify(t.Context())
	require.NoError(t, err)
	return n
}

func TestFilesAreClosedToOthers(t *testing.T) {
	dir := storeDir(t)
	s := openStore(t, dir)
	intend(t, s, 0, 1)
	modes := make(map[string]fs.FileMode)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		modes[e.Name()] = info.Mode()
	}
	require.Equal(t, map[string]fs.FileMode{
		"kedge.db": 0o600, "kedge.db-wal": 0o600, "kedge.db-shm": 0o600, "lock": 0o600,
	}, modes)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
}

func TestOpenRefusesSuspiciousFiles(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
	}{
		"a directory that others may enter": {func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(dir, 0o750))
		}, "run chmod 0700"},
		"a link to the directory": {func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(dir, dir+".moved"))
			require.NoError(t, os.Symlink(dir+".moved", dir))
		}, "symbolic link, not a directory"},
		"a link to the database": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, fileName)
			require.NoError(t, os.Rename(path, path+".moved"))
			require.NoError(t, os.Symlink(path+".moved", path))
		}, "symbolic link"},
		"a database that others can read": {func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(filepath.Join(dir, fileName), 0o644))
		}, "run chmod 0600"},
		"a link as write-ahead log": {func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("/dev/null", filepath.Join(dir, fileName+"-wal")))
		}, "symbolic link"},
		"a link as lock": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "lock")))
			require.NoError(t, os.Symlink("elsewhere", filepath.Join(dir, "lock")))
		}, "opening lock"},
		"a file that is no database": {func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), []byte("this is no database, whatever its name is"), 0o600))
		}, "not a database"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := storeDir(t)
			s := openStore(t, dir)
			intend(t, s, 0, 1)
			require.NoError(t, s.Close())
			row.spoil(t, dir)
			for _, readOnly := range []bool{false, true} {
				if readOnly && name == "a link as lock" {
					continue // readers take no lock
				}
				_, err := Open(Config{Dir: dir, ReadOnly: readOnly})
				require.ErrorContains(t, err, row.want)
				require.ErrorContains(t, err, dir)
			}
		})
	}
}

func TestOpenRefusesOtherSchemas(t *testing.T) {
	for name, row := range map[string]struct {
		sql      string
		readOnly bool
		want     string
	}{
		"a newer one":                   {"UPDATE schema_version SET version = 99", false, "version 99, and this program knows versions up to 3; run the newer program"},
		"a newer one, for reading":      {"UPDATE schema_version SET version = 99", true, "version 99, and this program knows versions up to 3"},
		"an older one, for reading":     {"UPDATE schema_version SET version = 0", true, "start the server once"},
		"none, but tables":              {"DROP TABLE schema_version", false, "database of another program"},
		"none, but tables, to read":     {"DROP TABLE schema_version", true, "database of another program"},
		"a version below all":           {"UPDATE schema_version SET version = -1", false, "version -1"},
		"no row for the version":        {"DELETE FROM schema_version", false, "returned 0 rows"},
		"a log without hash at its end": {"UPDATE records SET head = NULL", false, "the log of records does not end with a hash"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := storeDir(t)
			s := openStore(t, dir)
			intend(t, s, 0, 1)
			require.NoError(t, s.Close())
			tamper(t, dir, row.sql)
			_, err := Open(Config{Dir: dir, ReadOnly: row.readOnly})
			require.ErrorContains(t, err, row.want)
		})
	}
}

// tamper changes a closed database behind the store's back.
func tamper(t testing.TB, dir, sql string, args ...any) {
	t.Helper()
	c, err := dial(dsn(filepath.Join(dir, fileName)))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.close()) }()
	_, err = c.exec(sql, args...)
	require.NoError(t, err)
}

func TestOpenRefusesASecondWriter(t *testing.T) {
	dir := storeDir(t)
	first := openStore(t, dir)
	_, err := Open(Config{Dir: dir})
	require.ErrorContains(t, err, "another process has it open for writing")
	intend(t, first, 0, 1)
	require.NoError(t, first.Close())
	require.EqualValues(t, 1, count(t, openStore(t, dir)), "closing gave the directory free")
}

func TestReadOnlyReadsBesideTheWriterAndWritesNothing(t *testing.T) {
	dir := storeDir(t)
	_, err := Open(Config{Dir: dir, ReadOnly: true})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoFileExists(t, dir, "it makes nothing")

	writer := openStore(t, dir)
	intend(t, writer, 0, 2)
	reader, err := Open(Config{Dir: dir, ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	require.EqualValues(t, 2, count(t, reader))
	intend(t, writer, 2, 3)
	require.EqualValues(t, 3, count(t, reader))

	for name, err := range map[string]error{
		"Intend":          reader.Intend(t.Context(), benchRecord(9)),
		"Void":            reader.Void(t.Context(), benchRecord(0).Serial, "x"),
		"Append":          reader.Append(t.Context(), ca.Event{Actor: "a", Action: "b"}),
		"CreateJoinToken": reader.CreateJoinToken(t.Context(), joinToken(t)),
	} {
		require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(err), name)
	}
	_, err = reader.Replace(t.Context(), 0, ca.State{})
	require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(err))
	require.NoError(t, writer.Close())
	require.EqualValues(t, 3, count(t, reader), "the writer has gone")
}

func joinToken(t *testing.T) ca.JoinToken {
	t.Helper()
	identity, err := ca.ParseIdentity("spiffe://cluster.local/host/a")
	require.NoError(t, err)
	return ca.JoinToken{Identity: identity, ExpiresAt: benchRecord(0).NotAfter, CreatedBy: "uid:0"}
}

func TestReadOnlyReadsAStoreThatNobodyHasOpen(t *testing.T) {
	dir := storeDir(t)
	writer := openStore(t, dir)
	intend(t, writer, 0, 2)
	require.NoError(t, writer.Close())
	reader, err := Open(Config{Dir: dir, ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	require.EqualValues(t, 2, count(t, reader))
}
