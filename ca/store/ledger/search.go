package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

// Reads go in portions, each in a transaction of its own: a long one would hold
// back the checkpoints.
const (
	recordPortion  = 1024
	segmentPortion = 64
	defaultLimit   = 100
)

// span is a run of records, both ends included.
type span struct{ first, last uint64 }

// Records implements store.RecordReader. A query for an identity, a serial, a
// method or a cluster reads the summaries of all segments in its range, and the
// records of those only that can match.
func (r *Reader) Records(ctx context.Context, q ca.Query) ([]ca.Record, error) {
	limit := limitOf(q.Limit)
	q.AfterSeq = min(q.AfterSeq, math.MaxInt64-1)
	search := journal.NewSearch(q)
	var found []ca.Record
	err := r.spans(ctx, spansOf{after: q.AfterSeq, newest: q.Newest, may: search.MayMatch}, func(sp span) error {
		return r.scan(ctx, sp, q.Newest, func(stored storedRecord) error {
			record, err := journal.DecodeRecord(stored.seq, stored.body)
			if err != nil {
				return err
			}
			if search.Matches(&record) {
				record.VoidedReason = stored.void
				found = append(found, record)
			}
			if len(found) == limit {
				return errEnough
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("searching records: %w", err)
	}
	return found, nil
}

// errEnough ends a scan early.
var errEnough = errors.New("enough")

func limitOf(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, store.MaxLimit)
}

// LiveKeys implements store.RecordReader.
func (r *Reader) LiveKeys(ctx context.Context, now time.Time, each func(ca.LiveKey) error) error {
	may := func(g *journal.Segment) bool { return g.MayBeLive(now) }
	err := r.spans(ctx, spansOf{may: may}, func(sp span) error {
		return r.scan(ctx, sp, false, func(stored storedRecord) error {
			key, err := journal.DecodeLiveKey(stored.seq, stored.body)
			if err != nil || stored.void != "" || !key.NotAfter.After(now) {
				return err
			}
			return each(key)
		})
	})
	if err != nil {
		return fmt.Errorf("reading live keys: %w", err)
	}
	return nil
}

// SerialExists looks through every record.
func (r *Reader) SerialExists(serial string) (bool, error) {
	found, err := r.Records(context.Background(), ca.Query{Serial: serial, Newest: true, Limit: 1})
	return len(found) > 0, err
}

// spansOf selects segments.
type spansOf struct {
	after  uint64 // only records after it
	newest bool   // newest first
	may    func(*journal.Segment) bool
}

// spans calls each for every run of records that can be of interest, in order:
// the segments that may have some, and the records that are in none yet.
func (r *Reader) spans(ctx context.Context, o spansOf, each func(span) error) error {
	var summed uint64 // the last record that is in a segment
	if err := r.queryRow(ctx, "SELECT coalesce(max(last_seq), 0) FROM segments").Scan(&summed); err != nil {
		return fmt.Errorf("reading segments: %w", err)
	}
	tail := span{first: max(summed, o.after) + 1, last: math.MaxInt64}
	if o.newest {
		if err := each(tail); err != nil {
			return err
		}
		return r.eachSegment(ctx, o, summed, each)
	}
	if err := r.eachSegment(ctx, o, summed, each); err != nil {
		return err
	}
	return each(tail)
}

// eachSegment goes through the segments up to the record summed.
func (r *Reader) eachSegment(ctx context.Context, o spansOf, summed uint64, each func(span) error) error {
	from := o.after // segments with last_seq > from, or when newest with last_seq <= from
	if o.newest {
		from = summed
	}
	for {
		segments, err := r.segments(ctx, o, from)
		if err != nil || len(segments) == 0 {
			return err
		}
		for _, g := range segments {
			if g.Last > summed || !o.may(g) {
				continue
			}
			if err := each(span{first: max(g.First, o.after+1), last: g.Last}); err != nil {
				return err
			}
		}
		if from = segments[len(segments)-1].Last; o.newest {
			from = segments[len(segments)-1].First - 1
		}
	}
}

// segments reads the next portion of segments.
func (r *Reader) segments(ctx context.Context, o spansOf, from uint64) (all []*journal.Segment, err error) {
	query := `SELECT first_seq, last_seq, issued_min, issued_max, not_after_max, filter FROM segments `
	args := []any{int64(from), segmentPortion}
	if o.newest {
		query += "WHERE first_seq <= ? AND last_seq > ? ORDER BY first_seq DESC LIMIT ?"
		args = []any{int64(from), int64(o.after), segmentPortion}
	} else {
		query += "WHERE last_seq > ? ORDER BY first_seq LIMIT ?"
	}
	rows, err := r.query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading segments: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		g := &journal.Segment{}
		if err := rows.Scan(&g.First, &g.Last, &g.IssuedMin, &g.IssuedMax, &g.NotAfterMax, &g.Filter); err != nil {
			return nil, fmt.Errorf("reading segments: %w", err)
		}
		if err := g.Check(); err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, rows.Err()
}

// storedRecord is a row of records with the reason of its void, if it has one.
type storedRecord struct {
	seq  uint64
	body []byte
	void string
}

// scan calls each for every record of sp.
func (r *Reader) scan(ctx context.Context, sp span, newest bool, each func(storedRecord) error) error {
	for sp.first <= sp.last {
		records, err := r.portion(ctx, sp, newest)
		if err != nil || len(records) == 0 {
			return err
		}
		for _, stored := range records {
			if err := each(stored); err != nil {
				return err
			}
		}
		last := records[len(records)-1].seq
		switch {
		case newest && last == sp.first:
			return nil
		case newest:
			sp.last = last - 1
		default:
			sp.first = last + 1
		}
	}
	return nil
}

// portion reads the next records of sp.
func (r *Reader) portion(ctx context.Context, sp span, newest bool) (all []storedRecord, err error) {
	query := `SELECT r.seq, r.body, v.reason FROM records r LEFT JOIN voids v ON v.record_seq = r.seq
		WHERE r.seq BETWEEN ? AND ? ORDER BY r.seq`
	if newest {
		query += " DESC"
	}
	rows, err := r.query(ctx, query+" LIMIT ?", int64(sp.first), int64(sp.last), recordPortion)
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var stored storedRecord
		var void sql.NullString
		if err := rows.Scan(&stored.seq, &stored.body, &void); err != nil {
			return nil, fmt.Errorf("reading records: %w", err)
		}
		stored.void = void.String
		all = append(all, stored)
	}
	return all, rows.Err()
}

// Events implements store.EventReader.
func (r *Reader) Events(ctx context.Context, afterSeq uint64, newest bool, limit int) (all []ca.Event, err error) {
	afterSeq = min(afterSeq, math.MaxInt64)
	query := "SELECT seq, body FROM events WHERE seq > ? ORDER BY seq"
	if newest {
		query += " DESC"
	}
	rows, err := r.query(ctx, query+" LIMIT ?", int64(afterSeq), limitOf(limit))
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var seq uint64
		var body []byte
		if err := rows.Scan(&seq, &body); err != nil {
			return nil, fmt.Errorf("reading events: %w", err)
		}
		e, err := journal.DecodeEvent(seq, body)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}
