package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

// commit writes a batch in one transaction and answers every job in it. It
// answers nil only after the transaction was synced. A job must not be touched
// after its answer: its caller takes it back.
func (l *log) commit(batch []*job) {
	if err := l.ready(); err != nil {
		answer(batch, err)
		return
	}
	batch = l.admit(batch)
	if len(batch) == 0 {
		return
	}
	next, err := l.write(batch)
	if err != nil {
		answer(batch, errors.Join(err, l.close()))
		return
	}
	if l.tail.IsFull() { // it was stored in this transaction
		l.tail = journal.NewSegment()
	}
	seq := l.ends.records.seq
	for _, j := range batch {
		if j.serial != "" {
			seq++
			l.tail.Add(seq, &j.summary)
		}
	}
	l.ends = next
	l.commits++
	answer(batch, nil)
}

func answer(batch []*job, err error) {
	if err != nil {
		err = &ca.Error{Reason: ca.ReasonRecordFailed, Err: err}
	}
	for _, j := range batch {
		j.done <- err
	}
}

// admit answers the jobs whose serial is a repetition and returns the others. It
// remembers the new serials at once, so that a batch cannot hold one twice; if
// the commit fails, the log forgets them with everything else.
func (l *log) admit(batch []*job) []*job {
	admitted := batch[:0]
	for _, j := range batch {
		if err := l.checkSerial(j); err != nil {
			answer([]*job{j}, err)
			continue
		}
		if j.serial != "" {
			l.recent.Add(j.serial)
		}
		admitted = append(admitted, j)
	}
	return admitted
}

func (l *log) checkSerial(j *job) error {
	if j.serial == "" {
		return nil
	}
	repeated := l.recent.Has(j.serial)
	if !repeated && l.suspect > 0 {
		l.suspect--
		var err error
		if repeated, err = l.exists(j.serial); err != nil {
			return fmt.Errorf("looking for serial %s in the log: %w", j.serial, err)
		}
	}
	if repeated {
		return fmt.Errorf("serial %s was recorded before: the random generator repeats itself, or the request was made twice", j.serial)
	}
	return nil
}

// write runs the transaction and returns where the logs end after it. On an error
// the transaction is still open; closing the connection ends it.
func (l *log) write(batch []*job) (ends, error) {
	next := l.ends
	if _, err := l.begin.ExecContext(context.Background(), nil); err != nil {
		return next, fmt.Errorf("beginning transaction: %w", err)
	}
	if err := l.storeTail(); err != nil {
		return next, err
	}
	if err := l.insertRecords(batch, &next.records); err != nil {
		return next, err
	}
	if err := l.insertEvents(batch, &next.events); err != nil {
		return next, err
	}
	if err := l.insertVoids(batch, &next.voids); err != nil {
		return next, err
	}
	if _, err := l.end.ExecContext(context.Background(), nil); err != nil {
		return next, fmt.Errorf("committing: %w", err)
	}
	l.written += pageOverhead
	return next, nil
}

// pageOverhead is what a commit writes beside its rows: parts of pages.
const pageOverhead = 8 << 10

// storeTail stores the summary of the last records when there are enough of them.
func (l *log) storeTail() error {
	if !l.tail.IsFull() {
		return nil
	}
	s := l.tail
	_, err := l.conn.exec(`INSERT INTO segments (first_seq, last_seq, issued_min, issued_max, not_after_max, filter)
		VALUES (?, ?, ?, ?, ?, ?)`, int64(s.First), int64(s.Last), s.IssuedMin, s.IssuedMax, s.NotAfterMax, s.Filter)
	return err
}

func (l *log) insertRecords(batch []*job, e *end) error {
	l.args = l.args[:0]
	l.link.Begin(e.head)
	for _, j := range batch {
		if j.serial == "" {
			continue
		}
		e.seq++
		l.link.Add(e.seq, j.body)
		l.written += len(j.body)
		l.args = append(l.args, driver.NamedValue{Value: int64(e.seq)}, driver.NamedValue{Value: j.body}, driver.NamedValue{})
	}
	if len(l.args) == 0 {
		return nil
	}
	e.head = l.link.Head()
	l.args[len(l.args)-1].Value = e.head[:]
	rest := l.args
	for _, insert := range l.inserts {
		for n := 3 * insert.rows; len(rest) >= n; rest = rest[n:] {
			if err := run(insert.stmt, rest[:n]); err != nil {
				return fmt.Errorf("inserting records: %w", err)
			}
		}
	}
	return nil
}

func run(s stmt, args []driver.NamedValue) error {
	for i := range args {
		args[i].Ordinal = i + 1
	}
	_, err := s.ExecContext(context.Background(), args)
	return err
}

func (l *log) insertEvents(batch []*job, e *end) error {
	var bodies [][]byte
	for _, j := range batch {
		if j.event != nil {
			bodies = append(bodies, j.event)
		}
	}
	l.link.Begin(e.head)
	for i, body := range bodies {
		e.seq++
		l.link.Add(e.seq, body)
		var head any
		if i == len(bodies)-1 {
			e.head = l.link.Head()
			head = e.head[:]
		}
		if _, err := l.conn.exec("INSERT INTO events (seq, body, head) VALUES (?, ?, ?)", int64(e.seq), string(body), head); err != nil {
			return err
		}
		l.written += len(body)
	}
	return nil
}

// insertVoids adds the voids of records that are not void yet.
func (l *log) insertVoids(batch []*job, e *end) error {
	var voids []*journal.Void
	seen := make(map[uint64]bool)
	for _, j := range batch {
		if j.void == nil || seen[j.void.Record] {
			continue
		}
		known, err := l.conn.queryInt("SELECT count(*) FROM voids WHERE record_seq = ?", int64(j.void.Record))
		if err != nil {
			return err
		}
		if seen[j.void.Record] = true; known == 0 {
			voids = append(voids, j.void)
		}
	}
	l.link.Begin(e.head)
	for i, v := range voids {
		e.seq++
		l.link.Add(e.seq, v.Encode())
		var head any
		if i == len(voids)-1 {
			e.head = l.link.Head()
			head = e.head[:]
		}
		if _, err := l.conn.exec("INSERT INTO voids (seq, record_seq, reason, head) VALUES (?, ?, ?, ?)",
			int64(e.seq), int64(v.Record), v.Reason, head); err != nil {
			return err
		}
	}
	return nil
}

// exclusive runs do alone on the connection. A refusal leaves the connection as
// it is; after any other error the outcome is unknown, and it is opened anew.
func (l *log) exclusive(do func(*conn) error) error {
	if err := l.ready(); err != nil {
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: err}
	}
	err := do(l.conn)
	if err == nil {
		l.written += pageOverhead
		return nil
	}
	var refusal *ca.Error
	if errors.As(err, &refusal) {
		return err
	}
	return errors.Join(err, l.close())
}
