package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kedge-ca/kedge/ca/store/journal"
	"github.com/kedge-ca/kedge/ca/store/ledger"
)

// log is the writing end of the logs: one connection, and what this process knows
// of them. It belongs to the writer's goroutine.
//
// Where the logs end is read in every transaction, after its turn has come: other
// replicas write, too. After any failure the connection is made anew.
type log struct {
	connect func(context.Context) (*pgx.Conn, error)
	exists  func(serial string) (bool, error) // looks through every record
	wrote   func(lastRecord uint64)

	conn    *pgx.Conn // nil after a failure
	last    uint64    // the last record that recent knows
	recent  *journal.Recent
	suspect int // how many more serials are looked for in every record
	commits int

	link journal.Link
}

// suspectFirst is how many serials after a start are looked for in the whole log:
// a random generator that begins from the same state at every start repeats itself
// from its first output on.
const suspectFirst = 1

// stepTimeout bounds each of the two halves of a commit. The server's own limits are
// shorter, so that it is the server that ends what hangs.
const stepTimeout = 8 * time.Second

// ends is where each log ends.
type ends struct{ records, events, voids end }

type end struct {
	seq  uint64
	head journal.Head
}

func (l *log) close() error {
	if l.conn == nil {
		return nil
	}
	c := l.conn
	l.conn, l.recent, l.last = nil, nil, 0
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		return fmt.Errorf("closing connection: %w", err)
	}
	return nil
}

// begin opens a transaction, waits for this process's turn and reads where the logs
// end. Nothing has been written then: a connection that has died since its last use
// is made anew once.
func (l *log) begin(ctx context.Context, batch []*job) (ends, error) {
	for try := 0; ; try++ {
		isNew := l.conn == nil
		if isNew {
			var err error
			if l.conn, err = l.connect(ctx); err != nil {
				l.conn = nil
				return ends{}, fmt.Errorf("connecting: %w", err)
			}
			l.recent, l.last = journal.NewRecent(), 0
		}
		e, err := l.readEnds(ctx, batch)
		if err == nil {
			return e, nil
		}
		isDead := l.conn.IsClosed()
		err = errors.Join(err, ignoreDead(l.close(), isDead))
		if isNew || !isDead || ctx.Err() != nil {
			return ends{}, err
		}
	}
}

func ignoreDead(err error, isDead bool) error {
	if isDead {
		return nil
	}
	return err
}

// The statements that begin a transaction. The row of the store is the writers'
// turn; whoever has it sees all that was committed before.
const (
	takeTurn = "SELECT moved_to FROM store WHERE id = 1 FOR UPDATE"
	// newRecords are the last record that this process knows and those since, or the
	// last ones that it has to know. The serial stands in the first 22 bytes.
	newRecords = `SELECT seq, head, substr(body, 1, 22) FROM records
		WHERE seq >= greatest($1, (SELECT coalesce(max(seq), 0) FROM records) - $2) ORDER BY seq`
	lastOf     = "SELECT seq, head FROM %s ORDER BY seq DESC LIMIT 1"
	knownVoids = "SELECT record_seq FROM voids WHERE record_seq = ANY($1)"
)

// readEnds is one round trip.
func (l *log) readEnds(ctx context.Context, batch []*job) (ends, error) {
	var e ends
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(takeTurn).QueryRow(func(row pgx.Row) error {
		var movedTo *string
		if err := row.Scan(&movedTo); err != nil {
			return fmt.Errorf("waiting for other replicas: %w", err)
		}
		if movedTo != nil {
			return ledger.ErrMoved(*movedTo)
		}
		return nil
	})
	b.Queue(newRecords, int64(l.last), journal.RecentLen-1).Query(func(rows pgx.Rows) error {
		var err error
		e.records, err = l.scanRecords(rows)
		return err
	})
	voided := voidsOf(batch)
	if len(voided) > 0 {
		b.Queue(fmt.Sprintf(lastOf, journal.Voids)).Query(scanEnd(journal.Voids, &e.voids))
		b.Queue(knownVoids, voided).Query(func(rows pgx.Rows) error {
			known, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			forget(batch, known)
			return err
		})
	}
	if hasEvents(batch) {
		b.Queue(fmt.Sprintf(lastOf, journal.Events)).Query(scanEnd(journal.Events, &e.events))
	}
	return e, l.conn.SendBatch(ctx, &b).Close()
}

// scanRecords remembers the serials that are new, and returns where the log ends.
func (l *log) scanRecords(rows pgx.Rows) (end, error) {
	e := end{head: journal.Records.Origin()}
	for rows.Next() {
		var head, start []byte
		if err := rows.Scan(&e.seq, &head, &start); err != nil {
			return end{}, fmt.Errorf("reading the last records: %w", err)
		}
		if e.seq > l.last {
			serial, err := journal.SerialOf(start)
			if err != nil {
				return end{}, fmt.Errorf("one of the last records: %w", err)
			}
			l.recent.Add(serial)
			l.last = e.seq
		}
		e.head = journal.Head{}
		if len(head) == len(e.head) {
			e.head = journal.Head(head)
		}
	}
	if err := rows.Err(); err != nil {
		return end{}, fmt.Errorf("reading the last records: %w", err)
	}
	if e.seq < l.last {
		return end{}, fmt.Errorf("the log of records ends at %d, and ended at %d before: the database was put back from a backup; start the server anew", e.seq, l.last)
	}
	return e, e.check(journal.Records)
}

func scanEnd(name journal.Log, e *end) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		e.head = name.Origin()
		var head []byte
		for rows.Next() {
			if err := rows.Scan(&e.seq, &head); err != nil {
				return fmt.Errorf("reading the end of the log of %s: %w", name, err)
			}
			e.head = journal.Head{}
			if len(head) == len(e.head) {
				e.head = journal.Head(head)
			}
		}
		return errors.Join(rows.Err(), e.check(name))
	}
}

func (e end) check(name journal.Log) error {
	if e.head == (journal.Head{}) {
		return fmt.Errorf("the log of %s does not end with a hash: it was cut off or changed", name)
	}
	return nil
}

func voidsOf(batch []*job) []int64 {
	var all []int64
	for _, j := range batch {
		if j.void != nil {
			all = append(all, int64(j.void.Record))
		}
	}
	return all
}

// forget takes the voids of records that are void already out of the batch; their
// callers are answered with the others.
func forget(batch []*job, known []int64) {
	for _, record := range known {
		for _, j := range batch {
			if j.void != nil && j.void.Record == uint64(record) {
				j.void = nil
			}
		}
	}
}

func hasEvents(batch []*job) bool {
	for _, j := range batch {
		if j.event != nil {
			return true
		}
	}
	return false
}
