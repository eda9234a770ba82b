package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/kedge-ca/kedge/ca/store/journal"
)

// log is the writing end of the database: its connection and where the logs end.
// It belongs to the writer's goroutine.
//
// After any failure it forgets both and reads them again before the next write:
// whether a failed commit took effect is not known until then.
type log struct {
	dsn    string
	exists func(serial string) (bool, error) // looks through every record

	conn    *conn // nil after a failure
	begin   stmt
	end     stmt
	inserts []insert // of records, from many rows to one

	ends    ends
	tail    *journal.Segment // the records after the last stored segment
	recent  *journal.Recent
	suspect int // how many more serials are looked for in every record
	commits int

	link    journal.Link
	args    []driver.NamedValue
	written int // bytes since takeWritten, about
}

// ends is where each log ends.
type ends struct{ records, events, voids end }

type end struct {
	seq  uint64
	head journal.Head
}

// insert adds a fixed number of records in one statement. A run of a statement
// costs as much as two records, so a batch goes in as few as it can.
type insert struct {
	rows int
	stmt stmt
}

// suspectFirst is how many serials after a start are looked for in the whole log:
// a random generator that begins from the same state at every start repeats
// itself from its first output on. Looking costs 50 ms in a million records, and
// the first certificate after a start is usually the server's own.
const suspectFirst = 1

// open dials, runs prepare if there is any, and reads where the logs end.
func (l *log) open(prepare func(*conn) error) error {
	c, err := dial(l.dsn)
	if err != nil {
		return err
	}
	l.conn = c
	if prepare != nil {
		err = prepare(c)
	}
	if err == nil {
		err = l.prepareStatements()
	}
	if err == nil {
		err = l.load()
	}
	if err != nil {
		return errors.Join(err, l.close())
	}
	return nil
}

// ready opens the log again after a failure.
func (l *log) ready() error {
	if l.conn != nil {
		return nil
	}
	return l.open(nil)
}

// close ends what was begun. SQLite keeps a connection, and with it the lock of an
// open transaction, until the last of its statements is closed.
func (l *log) close() error {
	if l.conn == nil {
		return nil
	}
	var errs []error
	for _, s := range append([]stmt{l.begin, l.end}, l.insertStatements()...) {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	errs = append(errs, l.conn.close())
	l.conn, l.begin, l.end, l.inserts = nil, nil, nil, nil
	return errors.Join(errs...)
}

func (l *log) insertStatements() []stmt {
	var all []stmt
	for _, insert := range l.inserts {
		all = append(all, insert.stmt)
	}
	return all
}

func (l *log) prepareStatements() error {
	var err error
	if l.begin, err = l.conn.prepare("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if l.end, err = l.conn.prepare("COMMIT"); err != nil {
		return err
	}
	l.inserts = nil
	for _, rows := range []int{32, 8, 1} {
		values := strings.TrimSuffix(strings.Repeat("(?,?,?),", rows), ",")
		prepared, err := l.conn.prepare("INSERT INTO records (seq, body, head) VALUES " + values)
		if err != nil {
			return err
		}
		l.inserts = append(l.inserts, insert{rows: rows, stmt: prepared})
	}
	return nil
}

// load reads where the logs end, the serials of the last records, and the
// records that no segment sums up yet.
func (l *log) load() error {
	var err error
	for name, e := range map[journal.Log]*end{
		journal.Records: &l.ends.records, journal.Events: &l.ends.events, journal.Voids: &l.ends.voids,
	} {
		if *e, err = l.loadEnd(name); err != nil {
			return err
		}
	}
	if err := l.loadRecent(); err != nil {
		return err
	}
	return l.loadTail()
}

func (l *log) loadEnd(name journal.Log) (end, error) {
	rows, err := l.conn.query("SELECT seq, head FROM " + string(name) + " ORDER BY seq DESC LIMIT 1")
	if err != nil {
		return end{}, err
	}
	if len(rows) == 0 {
		return end{head: name.Origin()}, nil
	}
	seq, isInt := rows[0][0].(int64)
	head, isBytes := rows[0][1].([]byte)
	if !isInt || !isBytes || len(head) != len(journal.Head{}) {
		return end{}, fmt.Errorf("the log of %s does not end with a hash: it was cut off or changed", name)
	}
	return end{seq: uint64(seq), head: journal.Head(head)}, nil
}

// loadRecent reads the beginning of each body only, where the serial stands.
func (l *log) loadRecent() error {
	l.recent = journal.NewRecent()
	from := max(int64(l.ends.records.seq)-journal.RecentLen, 0)
	rows, err := l.conn.query("SELECT substr(body, 1, 22) FROM records WHERE seq > ? ORDER BY seq", from)
	if err != nil {
		return err
	}
	for _, row := range rows {
		body, _ := row[0].([]byte)
		serial, err := journal.SerialOf(body)
		if err != nil {
			return fmt.Errorf("one of the last records: %w", err)
		}
		l.recent.Add(serial)
	}
	return nil
}

func (l *log) loadTail() error {
	l.tail = journal.NewSegment()
	rows, err := l.conn.query(`SELECT seq, body FROM records
		WHERE seq > coalesce((SELECT last_seq FROM segments ORDER BY first_seq DESC LIMIT 1), 0) ORDER BY seq`)
	if err != nil {
		return err
	}
	var summary journal.Summary
	for _, row := range rows {
		seq, _ := row[0].(int64)
		body, _ := row[1].([]byte)
		r, err := journal.DecodeRecord(uint64(seq), body)
		if err != nil {
			return err
		}
		summary.Set(&r)
		l.tail.Add(r.Seq, &summary)
	}
	return nil
}

// takeWritten returns how much was written since it was last asked.
func (l *log) takeWritten() int {
	n := l.written
	l.written = 0
	return n
}
