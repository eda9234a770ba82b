package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"

	"github.com/kedge-ca/kedge/ca/store/journal"
)

// Verify implements store.Verifier. It reads every row of the three logs, checks
// that none is missing, that each transaction has the hash that was written with
// it, and that the summaries of the segments, which decide what a search looks
// at, are those of their records. Records that are added meanwhile are left out.
func (r *Reader) Verify(ctx context.Context) (uint64, error) {
	summaries := &summaries{reader: r}
	records, err := r.verifyLog(ctx, journal.Records, summaries.check)
	if err != nil {
		return 0, err
	}
	if err := summaries.finish(ctx, records); err != nil {
		return 0, err
	}
	for _, log := range []journal.Log{journal.Events, journal.Voids} {
		if _, err := r.verifyLog(ctx, log, nil); err != nil {
			return 0, err
		}
	}
	return records, nil
}

// Head returns the last row of a log and the hash over the whole log. Noted where
// the database's owner cannot change it, it finds a log that was cut off or
// written anew.
func (r *Reader) Head(ctx context.Context, log journal.Log) (uint64, journal.Head, error) {
	var seq uint64
	var head []byte
	err := r.queryRow(ctx, "SELECT seq, head FROM "+string(log)+" ORDER BY seq DESC LIMIT 1").Scan(&seq, &head)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, log.Origin(), nil
	}
	if err != nil {
		return 0, journal.Head{}, fmt.Errorf("reading the end of the log of %s: %w", log, err)
	}
	if len(head) != len(journal.Head{}) {
		return 0, journal.Head{}, fmt.Errorf("log of %s: its last row %d has no hash; the log was cut off or changed", log, seq)
	}
	return seq, journal.Head(head), nil
}

// logRow is a row of any log.
type logRow struct {
	seq  uint64
	body []byte
	head []byte // nil but in the last row of a transaction
}

// verifyLog checks the chain of one log and calls each, if there is one, for
// every row. It returns the number of rows.
func (r *Reader) verifyLog(ctx context.Context, log journal.Log, each func(context.Context, logRow) error) (uint64, error) {
	last, want, err := r.Head(ctx, log)
	if err != nil {
		return 0, err
	}
	var link journal.Link
	head := log.Origin()
	link.Begin(head)
	begun := uint64(1)
	for next := uint64(1); next <= last; {
		rows, err := r.logRows(ctx, log, next)
		if err != nil {
			return 0, err
		}
		if len(rows) == 0 || rows[0].seq != next {
			return 0, fmt.Errorf("log of %s: row %d is missing", log, next)
		}
		for _, row := range rows {
			if row.seq != next {
				return 0, fmt.Errorf("log of %s: row %d is missing", log, next)
			}
			next++
			link.Add(row.seq, row.body)
			if each != nil {
				if err := each(ctx, row); err != nil {
					return 0, fmt.Errorf("log of %s: %w", log, err)
				}
			}
			if row.head == nil {
				continue
			}
			if head = link.Head(); !bytes.Equal(head[:], row.head) {
				return 0, fmt.Errorf("log of %s: rows %d to %d are not what was written", log, begun, row.seq)
			}
			link.Begin(head)
			if begun = next; row.seq == last {
				break // what came after Head was read is not checked
			}
		}
	}
	if head != want {
		return 0, fmt.Errorf("log of %s: it changed while it was read", log)
	}
	return last, nil
}

// logRows reads the next portion of a log.
func (r *Reader) logRows(ctx context.Context, log journal.Log, from uint64) (all []logRow, err error) {
	query := "SELECT seq, body, head FROM " + string(log)
	if log == journal.Voids {
		query = "SELECT seq, reason, head, record_seq FROM voids"
	}
	rows, err := r.query(ctx, query+" WHERE seq >= ? ORDER BY seq LIMIT ?", int64(from), recordPortion)
	if err != nil {
		return nil, fmt.Errorf("reading the log of %s: %w", log, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var row logRow
		var void journal.Void
		targets := []any{&row.seq, &row.body, &row.head}
		if log == journal.Voids {
			targets = []any{&row.seq, &void.Reason, &row.head, &void.Record}
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, fmt.Errorf("reading the log of %s: %w", log, err)
		}
		if log == journal.Voids {
			row.body = void.Encode()
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// summaries checks the stored segments against the records that go by.
type summaries struct {
	reader *Reader
	stored []*journal.Segment // not yet reached
	from   uint64             // the next portion begins after this record
	sum    *journal.Segment   // of the records since the last segment
	one    journal.Summary    // of the record at hand
	done   bool               // there are no more segments
}

func (c *summaries) check(ctx context.Context, row logRow) error {
	record, err := journal.DecodeRecord(row.seq, row.body)
	if err != nil {
		return err
	}
	if err := c.fetch(ctx); err != nil {
		return err
	}
	if c.done {
		return nil
	}
	want := c.stored[0]
	if c.sum == nil {
		c.sum = journal.NewSegment()
	}
	c.one.Set(&record)
	c.sum.Add(row.seq, &c.one)
	if row.seq < want.Last {
		return nil
	}
	if !reflect.DeepEqual(c.sum, want) {
		return fmt.Errorf("the summary of records %d to %d is not theirs; searches would miss records", want.First, want.Last)
	}
	c.stored, c.sum = c.stored[1:], nil
	return nil
}

// fetch reads more segments when there are none left.
func (c *summaries) fetch(ctx context.Context) error {
	if len(c.stored) > 0 || c.done {
		return nil
	}
	var err error
	if c.stored, err = c.reader.segments(ctx, spansOf{}, c.from); err != nil {
		return err
	}
	if len(c.stored) == 0 {
		c.done = true
		return nil
	}
	c.from = c.stored[len(c.stored)-1].Last
	return nil
}

// finish refuses segments that no run of records has, above all one beyond the
// last record: a search would begin after it.
func (c *summaries) finish(ctx context.Context, records uint64) error {
	for _, g := range c.stored {
		if g.Last <= records {
			return fmt.Errorf("log of records: the summary of records %d to %d is out of place", g.First, g.Last)
		}
	}
	var summed, last uint64
	err := c.reader.queryRow(ctx,
		"SELECT (SELECT coalesce(max(last_seq), 0) FROM segments), (SELECT coalesce(max(seq), 0) FROM records)").Scan(&summed, &last)
	if err != nil {
		return fmt.Errorf("reading segments: %w", err)
	}
	if summed > last {
		return fmt.Errorf("log of records: there is a summary of records up to %d, and the last record is %d", summed, last)
	}
	return nil
}
