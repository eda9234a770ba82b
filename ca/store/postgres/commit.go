package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

// commit writes a batch in one transaction of two round trips and answers every job
// in it. It answers nil only after the server has committed.
func (l *log) commit(batch []*job) {
	batch, err := l.lookForFirst(batch)
	if len(batch) == 0 {
		return
	}
	if err == nil {
		err = l.tryCommit(&batch)
	}
	if err != nil {
		err = errors.Join(err, l.close())
	}
	answer(batch, err)
}

func answer(batch []*job, err error) {
	if err != nil {
		err = &ca.Error{Reason: ca.ReasonRecordFailed, Err: err}
	}
	for _, j := range batch {
		j.done <- err
	}
}

// lookForFirst looks for the first serials after a start in the whole log, and
// answers those that are there.
func (l *log) lookForFirst(batch []*job) ([]*job, error) {
	kept := batch[:0]
	var failed error
	for _, j := range batch {
		if j.serial != "" && l.suspect > 0 && failed == nil {
			isKnown, err := l.exists(j.serial)
			switch {
			case err != nil:
				failed = fmt.Errorf("looking for serial %s in the log: %w", j.serial, err)
			case isKnown:
				l.suspect--
				answer([]*job{j}, errRepeated(j.serial))
				continue
			default:
				l.suspect--
			}
		}
		kept = append(kept, j)
	}
	return kept, failed
}

func errRepeated(serial string) error {
	return fmt.Errorf("serial %s was recorded before: the random generator repeats itself, or the request was made twice", serial)
}

// tryCommit leaves in the batch the jobs that are still to be answered.
func (l *log) tryCommit(batch *[]*job) error {
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	at, err := l.begin(ctx, *batch)
	if err != nil {
		return err
	}
	if *batch = l.admit(*batch); len(*batch) == 0 {
		_, err := l.conn.Exec(ctx, "ROLLBACK")
		return err
	}
	ctx, cancelWrite := context.WithTimeout(context.Background(), stepTimeout)
	defer cancelWrite()
	return l.write(ctx, *batch, at)
}

// admit answers the jobs whose serial is a repetition and returns the others. It
// remembers the new serials at once, so that a batch cannot hold one twice; if the
// commit fails, the log forgets them with everything else.
func (l *log) admit(batch []*job) []*job {
	admitted := batch[:0]
	for _, j := range batch {
		if j.serial != "" {
			if l.recent.Has(j.serial) {
				answer([]*job{j}, errRepeated(j.serial))
				continue
			}
			l.recent.Add(j.serial)
		}
		admitted = append(admitted, j)
	}
	return admitted
}

// rows are what a transaction adds to a log.
type rows struct {
	seqs   []int64
	bodies [][]byte
	heads  [][]byte // nil but in the last one
}

// chain numbers the bodies after e and moves e to their end.
func (l *log) chain(e *end, bodies [][]byte) rows {
	r := rows{bodies: bodies, seqs: make([]int64, len(bodies)), heads: make([][]byte, len(bodies))}
	l.link.Begin(e.head)
	for i, body := range bodies {
		e.seq++
		l.link.Add(e.seq, body)
		r.seqs[i] = int64(e.seq)
	}
	if len(bodies) > 0 {
		e.head = l.link.Head()
		r.heads[len(bodies)-1] = e.head[:]
	}
	return r
}

// write is the second round trip.
func (l *log) write(ctx context.Context, batch []*job, at ends) error {
	var records, events, encoded [][]byte
	var voids []*journal.Void
	seen := make(map[uint64]bool)
	for _, j := range batch {
		switch {
		case j.body != nil:
			records = append(records, j.body)
		case j.event != nil:
			events = append(events, j.event)
		case j.void != nil && !seen[j.void.Record]:
			seen[j.void.Record] = true
			voids, encoded = append(voids, j.void), append(encoded, j.void.Encode())
		}
	}
	var b pgx.Batch
	if len(records) > 0 {
		r := l.chain(&at.records, records)
		b.Queue("INSERT INTO records (seq, body, head) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[])", r.seqs, r.bodies, r.heads)
	}
	if len(events) > 0 {
		r := l.chain(&at.events, events)
		texts := make([]string, len(events))
		for i, body := range events {
			texts[i] = string(body)
		}
		b.Queue("INSERT INTO events (seq, body, head) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[])", r.seqs, texts, r.heads)
	}
	if len(voids) > 0 {
		r := l.chain(&at.voids, encoded)
		of, reasons := make([]int64, len(voids)), make([]string, len(voids))
		for i, v := range voids {
			of[i], reasons[i] = int64(v.Record), v.Reason
		}
		b.Queue("INSERT INTO voids (seq, record_seq, reason, head) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[])",
			r.seqs, of, reasons, r.heads)
	}
	if err := l.send(ctx, &b); err != nil {
		return err
	}
	l.last = at.records.seq
	l.commits++
	l.wrote(at.records.seq)
	return nil
}

var errRolledBack = errors.New("the server rolled back")

// send runs the statements and COMMIT. A server that answers with an error has
// written nothing; when it does not answer, nobody knows.
func (l *log) send(ctx context.Context, b *pgx.Batch) error {
	b.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return fmt.Errorf("%w and said %q", errRolledBack, tag)
		}
		return nil
	})
	err := l.conn.SendBatch(ctx, b).Close()
	if err == nil {
		return nil
	}
	var refused *pgconn.PgError
	if errors.Is(err, errRolledBack) || errors.As(err, &refused) && !l.conn.IsClosed() {
		return fmt.Errorf("committing: %w", err)
	}
	return fmt.Errorf("committing, outcome unknown: %w", err)
}
