package postgres

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/journal"
	"github.com/kedge-ca/kedge/ca/store/postgres/postgrestest"
)

func TestReplicasWriteOneLog(t *testing.T) {
	url := postgrestest.Start(t).Database(t, "kedge")
	replicas := make([]*Store, 3)
	var opening sync.WaitGroup
	for i := range replicas { // at once, over an empty database
		opening.Go(func() {
			s, err := Open(t.Context(), Config{URL: url, Replica: []string{"a", "b", "c"}[i]})
			if err != nil {
				t.Error(err)
				return
			}
			replicas[i] = s
			t.Cleanup(func() { require.NoError(t, s.Close()) })
		})
	}
	opening.Wait()
	require.NotContains(t, replicas, (*Store)(nil))
	m, err := replicas[0].Mark(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, m.Generation)

	const each = 1500
	var group sync.WaitGroup
	for i, s := range replicas {
		for w := range 8 {
			group.Go(func() {
				for n := w; n < each; n += 8 {
					if err := s.Intend(t.Context(), record(i*each+n)); err != nil {
						t.Errorf("record: %v", err)
					}
					if n%100 == 0 {
						if err := s.Append(t.Context(), ca.Event{Actor: "system", Action: "test"}); err != nil {
							t.Errorf("event: %v", err)
						}
						if err := s.Void(t.Context(), record(i*each+n).Serial, "test"); err != nil {
							t.Errorf("void: %v", err)
						}
					}
				}
			})
		}
	}
	group.Wait()
	for _, s := range replicas {
		require.EqualValues(t, 3*each, count(t, s), "one dense chain of hashes")
		found, err := s.Records(t.Context(), ca.Query{Limit: store.MaxLimit})
		require.NoError(t, err)
		require.Len(t, found, 3*each)
		require.NoError(t, s.Holds(t.Context(), m))
	}
	require.Greater(t, 3*each, replicas[0].writes.log.commits, "commits hold many records")
	require.Eventually(t, func() bool { // the summaries of all that is full, whoever makes them
		var n, last uint64
		require.NoError(t, replicas[0].db.QueryRowContext(t.Context(), "SELECT count(*), max(last_seq) FROM segments").Scan(&n, &last))
		return n == 3*each/journal.SegmentLen && last == n*journal.SegmentLen
	}, 10*time.Second, 10*time.Millisecond)
	require.EqualValues(t, 3*each, count(t, replicas[1]), "and they are right")
}

func TestReplicasShareWhatHasOneWinner(t *testing.T) {
	url := postgrestest.Start(t).Database(t, "kedge")
	a, b := openAs(t, url, "a"), openAs(t, url, "b")

	require.NoError(t, a.Intend(t.Context(), record(1)))
	require.NoError(t, b.Intend(t.Context(), record(2)))
	err := b.Intend(t.Context(), record(1))
	require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(err), "a serial that the other replica has used")
	require.ErrorContains(t, err, "was recorded before")

	for round := range 5 {
		token := ca.JoinToken{Hash: [32]byte{byte(round)}, ExpiresAt: time.Unix(2e9, 0), CreatedBy: "uid:0"}
		token.Identity, err = ca.ParseIdentity("spiffe://cluster.local/host/a")
		require.NoError(t, err)
		require.NoError(t, a.CreateJoinToken(t.Context(), token))
		var used atomic.Int32
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				_, err := []*Store{a, b}[i%2].UseJoinToken(t.Context(), token.Hash, time.Unix(1e9, 0))
				if err == nil {
					used.Add(1)
				} else if ca.ReasonOf(err) != ca.ReasonTokenUsed {
					t.Errorf("a loser has %v", err)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, used.Load())
	}

	version, err := a.Replace(t.Context(), 0, ca.State{TrustDomain: "of a"})
	require.NoError(t, err)
	_, err = b.Replace(t.Context(), 0, ca.State{TrustDomain: "of b"})
	require.NoError(t, err, "each replica has a state of its own")
	state, got, err := a.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, version, got)
	require.Equal(t, "of a", state.TrustDomain)
}

// The server crashes again and again under load. What was acknowledged is there, and
// nobody had to help.
func TestStoreGoesOnAfterTheServerCrashed(t *testing.T) {
	server := postgrestest.Start(t)
	s := openAs(t, server.Database(t, "kedge"), "a")
	var next, failed atomic.Int64
	var recorded sync.Map
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := record(int(next.Add(1)))
				if err := s.Intend(t.Context(), r); err != nil {
					if ca.ReasonOf(err) != ca.ReasonRecordFailed {
						t.Errorf("a failure has %v", err)
					}
					failed.Add(1)
					continue
				}
				recorded.Store(r.Serial, true)
			}
		})
	}
	goesOn := func() {
		before, err := s.Mark(t.Context())
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			m, err := s.Mark(t.Context())
			return err == nil && m.Records.Seq > before.Records.Seq+100
		}, 20*time.Second, 5*time.Millisecond)
	}
	goesOn()
	for range 3 {
		server.Restart(t)
		require.Eventually(t, func() bool { _, err := s.Mark(t.Context()); return err == nil }, 10*time.Second, 5*time.Millisecond)
		goesOn()
	}
	close(stop)
	group.Wait()
	require.Positive(t, failed.Load(), "the crashes were felt")
	found := make(map[string]bool)
	for after := uint64(0); ; {
		page, err := s.Records(t.Context(), ca.Query{AfterSeq: after, Limit: store.MaxLimit})
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			found[r.Serial] = true
		}
		after = page[len(page)-1].Seq
	}
	recorded.Range(func(serial, _ any) bool {
		require.True(t, found[serial.(string)], "record %s was acknowledged and is lost", serial)
		return true
	})
	count(t, s)
}

func TestAnIdleStoreDoesNotNoticeARestart(t *testing.T) {
	server := postgrestest.Start(t)
	s := openAs(t, server.Database(t, "kedge"), "a")
	require.NoError(t, s.Intend(t.Context(), record(1)))
	server.Restart(t)
	require.NoError(t, s.Intend(t.Context(), record(2)), "nothing was under way")
	require.EqualValues(t, 2, count(t, s))
}

// A replica that hangs with the turn in its hand is thrown out by the server.
func TestAReplicaThatHangsDoesNotHoldTheOthersUp(t *testing.T) {
	server := postgrestest.Start(t)
	url := server.Database(t, "kedge")
	s := openAs(t, url, "a")
	require.NoError(t, s.Intend(t.Context(), record(1)))

	cc, err := Config{URL: url, Replica: "b"}.connConfig()
	require.NoError(t, err)
	hung, err := pgx.ConnectConfig(t.Context(), cc)
	require.NoError(t, err)
	defer hung.Close(t.Context())
	_, err = hung.Exec(t.Context(), "BEGIN")
	require.NoError(t, err)
	_, err = hung.Exec(t.Context(), takeTurn)
	require.NoError(t, err)

	err = s.Intend(t.Context(), record(2))
	require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(err), "%v", err)
	require.ErrorContains(t, err, "lock timeout")
	require.NoError(t, s.Intend(t.Context(), record(3)), "its session was ended while this one waited")
	_, err = hung.Exec(t.Context(), "COMMIT")
	require.Error(t, err)
}

func TestAServerThatIsDownIsToldAndNotWaitedFor(t *testing.T) {
	server := postgrestest.Start(t)
	url := server.Database(t, "kedge")
	s := openAs(t, url, "a")
	server.Stop(t, syscall.SIGQUIT)
	require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(s.Intend(t.Context(), record(1))))
	_, _, err := s.Load(t.Context())
	require.Error(t, err)
	_, err = s.PutDocument(t.Context(), "plan", "one", 0, []byte("x"))
	require.Error(t, err)
	require.NotEqual(t, ca.ReasonStale, ca.ReasonOf(err))
	_, err = Open(t.Context(), Config{URL: url, Replica: "b"})
	require.ErrorContains(t, err, "connection refused")
	server.Run(t)
	require.NoError(t, s.Intend(t.Context(), record(1)))
	_, err = s.PutDocument(t.Context(), "plan", "one", 0, []byte("x"))
	require.NoError(t, err)
}

// A replica keeps running while somebody puts the database back.
func TestARunningReplicaRefusesADatabaseThatWasPutBack(t *testing.T) {
	server := postgrestest.Start(t)
	s := openAs(t, server.Database(t, "kedge"), "a")
	for n := range 5 {
		require.NoError(t, s.Intend(t.Context(), record(n)))
	}
	server.SQL(t, "kedge", "DELETE FROM records WHERE seq > 3")
	err := s.Intend(t.Context(), record(9))
	require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(err))
	require.ErrorContains(t, err, "the database was put back")
}

func TestARunningReplicaStopsWritingWhenTheContentWasMoved(t *testing.T) {
	server := postgrestest.Start(t)
	url := server.Database(t, "kedge")
	s := openAs(t, url, "a")
	server.SQL(t, "kedge", "UPDATE store SET moved_to = '/var/lib/kedge/db'")
	err := s.Intend(t.Context(), record(1))
	require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(err))
	require.ErrorContains(t, err, "its content was moved to /var/lib/kedge/db")
	_, err = Open(t.Context(), Config{URL: url, Replica: "b"})
	require.ErrorContains(t, err, "its content was moved to /var/lib/kedge/db")
}

func TestOpenRefusesADatabaseThatIsNotItsOwn(t *testing.T) {
	server := postgrestest.Start(t)
	for name, row := range map[string]struct {
		sql      string
		readOnly bool
		want     string
	}{
		"tables of another program":     {"DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE other (a int)", false, "there is no store of Kedge in it"},
		"nothing, for reading":          {"DROP SCHEMA public CASCADE; CREATE SCHEMA public", true, "there is no store of Kedge in it"},
		"a newer schema":                {"UPDATE schema_version SET version = 99", false, "version 99, and this program knows versions up to 3"},
		"a newer schema, for reading":   {"UPDATE schema_version SET version = 99", true, "version 99, and this program knows"},
		"an older schema, for reading":  {"UPDATE schema_version SET version = 1", true, "start the server once, which migrates it"},
		"no schema that can be used":    {"ALTER DATABASE kedge SET search_path = none", false, "no schema has been selected"},
		"a commit that is not synced":   {"ALTER DATABASE kedge SET synchronous_commit = off", false, "synchronous_commit is off"},
		"a database that only can read": {"ALTER DATABASE kedge SET default_transaction_read_only = on", false, "read only"},
	} {
		t.Run(name, func(t *testing.T) {
			url := server.Database(t, "kedge")
			defer server.SQL(t, "postgres", "DROP DATABASE kedge WITH (FORCE)")
			require.NoError(t, open(t, url).Close())
			server.SQL(t, "kedge", row.sql)
			_, err := Open(t.Context(), Config{URL: url, Replica: "a", ReadOnly: row.readOnly})
			require.ErrorContains(t, err, row.want)
		})
	}
}

func TestOpenRefusesAServerThatDoesNotSync(t *testing.T) {
	url := postgrestest.Start(t, "fsync = off").Database(t, "kedge")
	_, err := Open(t.Context(), Config{URL: url, Replica: "a"})
	require.ErrorContains(t, err, "fsync is off")
}

func TestReadOnlyWritesNothing(t *testing.T) {
	url := postgrestest.Start(t).Database(t, "kedge")
	writer := openAs(t, url, "a")
	require.NoError(t, writer.Intend(t.Context(), record(1)))
	reader, err := Open(t.Context(), Config{URL: url, Replica: "a", ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	require.EqualValues(t, 1, count(t, reader))
	m, err := reader.Mark(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, m.Generation)

	_, replace := reader.Replace(t.Context(), 0, ca.State{})
	_, put := reader.PutDocument(t.Context(), "plan", "one", 0, []byte("x"))
	_, use := reader.UseJoinToken(t.Context(), [32]byte{}, time.Unix(1, 0))
	_, deleteTokens := reader.DeleteJoinTokens(t.Context(), time.Unix(1, 0))
	for name, err := range map[string]error{
		"Intend": reader.Intend(t.Context(), record(2)), "Void": reader.Void(t.Context(), record(1).Serial, "x"),
		"Append":          reader.Append(t.Context(), ca.Event{Actor: "a", Action: "b"}),
		"CreateJoinToken": reader.CreateJoinToken(t.Context(), ca.JoinToken{}),
		"DeleteDocument":  reader.DeleteDocument(t.Context(), "plan", "one", 1),
		"Replace":         replace, "PutDocument": put, "UseJoinToken": use, "DeleteJoinTokens": deleteTokens,
		"ReturnJoinToken": reader.ReturnJoinToken(t.Context(), [32]byte{}),
	} {
		require.Equal(t, ca.ReasonNotReady, ca.ReasonOf(err), name)
	}
}
