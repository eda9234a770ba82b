package transfer_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/postgres"
	"github.com/kedge-ca/kedge/ca/store/postgres/postgrestest"
	"github.com/kedge-ca/kedge/ca/store/sqlite"
	"github.com/kedge-ca/kedge/ca/store/transfer"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// populate puts something into every table, more than a portion of it where that is
// cheap.
func populate(t *testing.T, s store.Durable) {
	t.Helper()
	var group sync.WaitGroup
	for w := range 64 {
		group.Go(func() {
			for n := w; n < 2100; n += 64 {
				r := ca.Record{Serial: fmt.Sprintf("7e%030x", n), Identity: fmt.Sprintf("spiffe://cluster.local/app-%d", n%9), IssuedAt: start, NotAfter: start.Add(time.Hour)}
				if err := s.Intend(t.Context(), r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for _, n := range []int{0, 700, 1400} {
		require.NoError(t, s.Void(t.Context(), fmt.Sprintf("7e%030x", n), "signing failed"))
	}
	for n := range 120 {
		require.NoError(t, s.Append(t.Context(), ca.Event{At: start, Actor: "uid:0", Action: fmt.Sprint("test.", n), Detail: map[string]string{"a": "é\x00"}}))
	}
	version, err := s.Replace(t.Context(), 0, ca.State{TrustDomain: "cluster.local"})
	require.NoError(t, err)
	_, err = s.Replace(t.Context(), version, ca.State{TrustDomain: "cluster.local", BundleSeq: 2})
	require.NoError(t, err)
	for n := range 25 {
		_, err := s.PutDocument(t.Context(), "plan", fmt.Sprint("doc-", n), 0, []byte{0, byte(n), 0xff})
		require.NoError(t, err)
	}
	require.NoError(t, s.DeleteDocument(t.Context(), "plan", "doc-3", 1))
	for n := range 3 {
		require.NoError(t, s.CreateJoinToken(t.Context(), token(t, n)))
	}
	_, err = s.UseJoinToken(t.Context(), token(t, 1).Hash, start)
	require.NoError(t, err)
}

func token(t *testing.T, n int) ca.JoinToken {
	t.Helper()
	identity, err := ca.ParseIdentity("spiffe://cluster.local/host/a")
	require.NoError(t, err)
	return ca.JoinToken{Hash: [32]byte{byte(n)}, Identity: identity, ExpiresAt: start.Add(time.Hour), CreatedBy: "uid:0"}
}

// requirePopulated checks that all of it is there, and that the store goes on.
func requirePopulated(t *testing.T, s store.Durable, was store.Mark) {
	t.Helper()
	require.NoError(t, s.Holds(t.Context(), was))
	n, err := s.Verify(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2100, n)
	found, err := s.Records(t.Context(), ca.Query{Limit: store.MaxLimit, Identity: "spiffe://cluster.local/app-7"})
	require.NoError(t, err)
	require.Len(t, found, 233)
	found, err = s.Records(t.Context(), ca.Query{Serial: fmt.Sprintf("7e%030x", 700)})
	require.NoError(t, err)
	require.Equal(t, "signing failed", found[0].VoidedReason)
	events, err := s.Events(t.Context(), 0, true, 1)
	require.NoError(t, err)
	require.Equal(t, []ca.Event{{Seq: 120, At: start, Actor: "uid:0", Action: "test.119", Detail: map[string]string{"a": "é\x00"}}}, events)
	state, version, err := s.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, ca.State{TrustDomain: "cluster.local", BundleSeq: 2}, state)
	require.EqualValues(t, 2, version)
	docs, err := s.Documents(t.Context(), "plan", "", 0)
	require.NoError(t, err)
	require.Len(t, docs, 24)
	require.Equal(t, ca.Document{Name: "doc-24", Version: 1, Body: []byte{0, 24, 0xff}}, docs[17])
	_, err = s.UseJoinToken(t.Context(), token(t, 1).Hash, start)
	require.Equal(t, ca.ReasonTokenUsed, ca.ReasonOf(err))
}

func goesOn(t *testing.T, s store.Durable) {
	t.Helper()
	version, err := s.PutDocument(t.Context(), "plan", "doc-3", 0, []byte("again"))
	require.NoError(t, err)
	require.EqualValues(t, 3, version, "what was deleted does not begin anew")
	require.NoError(t, s.Intend(t.Context(), ca.Record{Serial: "7f", Identity: "spiffe://cluster.local/app"}))
	got, err := s.UseJoinToken(t.Context(), token(t, 0).Hash, start)
	require.NoError(t, err)
	require.Equal(t, token(t, 0), got)
	_, err = s.Verify(t.Context())
	require.NoError(t, err)
}

func noProgress(string, uint64, uint64) {}

// place is somewhere a store can be.
type place struct {
	open   func(t *testing.T) store.Durable
	tryEnd func() (*transfer.End, error)
}

func (p place) end(t *testing.T) *transfer.End {
	t.Helper()
	e, err := p.tryEnd()
	require.NoError(t, err)
	return e
}

func inDirectory(t *testing.T) place {
	dir := filepath.Join(t.TempDir(), "db")
	return place{
		open: func(t *testing.T) store.Durable {
			s, err := sqlite.Open(sqlite.Config{Dir: dir})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			return s
		},
		tryEnd: func() (*transfer.End, error) { return sqlite.OpenEnd(dir, true) },
	}
}

func inDatabase(t *testing.T, server *postgrestest.Server, name string) place {
	c := postgres.Config{URL: server.Database(t, name), Replica: "a"}
	return place{
		open: func(t *testing.T) store.Durable {
			s, err := postgres.Open(t.Context(), c)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			return s
		},
		tryEnd: func() (*transfer.End, error) { return postgres.OpenEnd(t.Context(), c) },
	}
}

func move(t *testing.T, from, to place) error {
	t.Helper()
	source, target := from.end(t), to.end(t)
	defer func() { require.NoError(t, source.Close()); require.NoError(t, target.Close()) }()
	_, err := transfer.Move(t.Context(), source, target, noProgress)
	return err
}

func TestEverythingMovesThereAndBack(t *testing.T) {
	server := postgrestest.Start(t)
	first, second, third, fourth := inDirectory(t), inDatabase(t, server, "one"), inDatabase(t, server, "two"), inDirectory(t)
	s := first.open(t)
	populate(t, s)
	was, err := s.Mark(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())

	source, target := first.end(t), second.end(t)
	told := make(map[string]uint64)
	n, err := transfer.Move(t.Context(), source, target, func(table string, done, of uint64) {
		require.GreaterOrEqual(t, done, told[table])
		require.LessOrEqual(t, done, of)
		told[table] = done
	})
	require.NoError(t, err)
	require.EqualValues(t, 2100, n)
	require.NoError(t, source.Close())
	require.NoError(t, target.Close())
	require.Equal(t, map[string]uint64{
		"records": 2100, "events": 120, "voids": 3, "segments": 2, "replica_states": 1, "join_tokens": 3, "documents": 25,
	}, told)
	for _, step := range [][2]place{{second, third}, {third, fourth}} {
		require.NoError(t, move(t, step[0], step[1]))
	}
	last := fourth.open(t)
	requirePopulated(t, last, was)
	goesOn(t, last)
	require.NoError(t, last.Close())
	fifth := inDatabase(t, server, "five")
	require.NoError(t, move(t, fourth, fifth))
	s = fifth.open(t)
	require.NoError(t, s.Holds(t.Context(), was))
	require.NoError(t, s.Intend(t.Context(), ca.Record{Serial: "7e01", Identity: "spiffe://cluster.local/app"}))
	_, err = s.Verify(t.Context())
	require.NoError(t, err)
}

func TestMoveRefuses(t *testing.T) {
	server := postgrestest.Start(t)
	for name, row := range map[string]struct {
		spoil func(t *testing.T, from, to place)
		want  string
	}{
		"a target that has something": {func(t *testing.T, _, to place) {
			s := to.open(t)
			require.NoError(t, s.Append(t.Context(), ca.Event{Actor: "a", Action: "b"}))
			require.NoError(t, s.Close())
		}, "it is not empty"},
		"a source that was changed behind its back": {func(t *testing.T, from, _ place) {
			exec(t, from, "UPDATE records SET body = (SELECT body FROM records WHERE seq = 6) WHERE seq = 5")
		}, "verifying the copy: log of records: rows "},
		"a source that was cut off": {func(t *testing.T, from, _ place) {
			exec(t, from, "DELETE FROM events WHERE seq = 7")
		}, "log of events: row 7 is missing"},
		"a source that was moved elsewhere": {func(t *testing.T, from, _ place) {
			exec(t, from, "UPDATE store SET moved_to = 'elsewhere'")
		}, "its content was moved to elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := inDirectory(t), inDatabase(t, server, fmt.Sprintf("db%d", len(name)))
			s := from.open(t)
			populate(t, s)
			require.NoError(t, s.Close())
			row.spoil(t, from, to)
			require.ErrorContains(t, move(t, from, to), row.want)

			target := to.open(t)
			found, err := target.Records(t.Context(), ca.Query{})
			require.NoError(t, err)
			require.Empty(t, found, "nothing is half there")
		})
	}
}

// exec changes a store behind its back.
func exec(t *testing.T, at place, sql string) {
	t.Helper()
	e := at.end(t)
	defer func() { require.NoError(t, e.Close()) }()
	_, err := e.DB.ExecContext(t.Context(), sql)
	require.NoError(t, err)
}

// The process ends after the target was committed and before the source was marked.
func TestMoveThatWasCutOffIsFinishedByTheNext(t *testing.T) {
	from, to := inDirectory(t), inDirectory(t)
	s := from.open(t)
	populate(t, s)
	was, err := s.Mark(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, move(t, from, to))
	exec(t, from, "UPDATE store SET moved_to = NULL")
	require.NoError(t, move(t, from, to))
	require.NoError(t, move(t, from, to), "and again, when nothing is left to do")

	requirePopulated(t, to.open(t), was)
	e := from.end(t)
	defer func() { require.NoError(t, e.Close()) }()
	var movedTo string
	require.NoError(t, e.DB.QueryRowContext(t.Context(), "SELECT moved_to FROM store").Scan(&movedTo))
	require.NotEmpty(t, movedTo)
}

func TestAHalfMoveIsNotFinishedOverWhatWasWrittenSince(t *testing.T) {
	from, to := inDirectory(t), inDirectory(t)
	s := from.open(t)
	populate(t, s)
	require.NoError(t, s.Close())
	require.NoError(t, move(t, from, to))
	exec(t, from, "UPDATE store SET moved_to = NULL")
	s = from.open(t)
	require.NoError(t, s.Append(t.Context(), ca.Event{At: start, Actor: "uid:0", Action: "late"}))
	require.NoError(t, s.Close())
	require.ErrorContains(t, move(t, from, to), "it has another state of the same store")
}

func TestMoveRefusesAStoreThatIsInUse(t *testing.T) {
	server := postgrestest.Start(t)
	from, to := inDatabase(t, server, "kedge"), inDirectory(t)
	s := from.open(t)
	require.NoError(t, s.Append(t.Context(), ca.Event{At: start, Actor: "uid:0", Action: "test"}))
	require.ErrorContains(t, move(t, from, to), "replicas have it open: a; stop them")
	require.NoError(t, s.Close())
	require.Eventually(t, func() bool { return move(t, from, to) == nil }, 10*time.Second, 20*time.Millisecond)

	local := to.open(t)
	require.NoError(t, local.Append(t.Context(), ca.Event{At: start, Actor: "uid:0", Action: "test"}))
	_, err := to.tryEnd()
	require.ErrorContains(t, err, "another process has it open")
}
