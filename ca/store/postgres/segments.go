package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/kedge-ca/kedge/ca/store/journal"
)

// summariser sums up full segments of records. No replica sees all records that go
// by, so they are read again, once for all replicas; searches go through those that
// are in no segment yet one by one.
type summariser struct {
	db      *sql.DB
	summed  atomic.Uint64 // the last record that is known to be in a segment
	wake    chan struct{}
	stop    context.CancelFunc
	stopped chan struct{}
}

func startSummariser(db *sql.DB) *summariser {
	ctx, stop := context.WithCancel(context.Background())
	s := &summariser{db: db, wake: make(chan struct{}, 1), stop: stop, stopped: make(chan struct{})}
	s.wake <- struct{}{} // what others have left
	go s.run(ctx)
	return s
}

// wrote notes that the log of records now ends at last.
func (s *summariser) wrote(last uint64) {
	if last < s.summed.Load()+journal.SegmentLen {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

func (s *summariser) run(ctx context.Context) {
	defer close(s.stopped)
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		for {
			// What fails is tried again with the next records; until then searches read
			// more, and find the same.
			more, err := s.sumUp(ctx)
			if err != nil || !more {
				break
			}
		}
	}
}

func (s *summariser) close() {
	s.stop()
	<-s.stopped
}

// sumUp adds the next segment, if there are enough records for one. Of replicas that
// do it at once one gets its row in, and all rows are the same.
func (s *summariser) sumUp(ctx context.Context) (more bool, err error) {
	var summed uint64
	if err := s.db.QueryRowContext(ctx, "SELECT coalesce(max(last_seq), 0) FROM segments").Scan(&summed); err != nil {
		return false, fmt.Errorf("reading segments: %w", err)
	}
	s.summed.Store(summed)
	g, err := s.read(ctx, summed)
	if err != nil || !g.IsFull() {
		return false, err
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO segments (first_seq, last_seq, issued_min, issued_max, not_after_max, filter)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`, int64(g.First), int64(g.Last), g.IssuedMin, g.IssuedMax, g.NotAfterMax, g.Filter)
	if err != nil {
		return false, fmt.Errorf("adding a segment: %w", err)
	}
	return true, nil
}

// read sums up the records after a record, up to a full segment.
func (s *summariser) read(ctx context.Context, after uint64) (g *journal.Segment, err error) {
	found, err := s.db.QueryContext(ctx, "SELECT seq, body FROM records WHERE seq > $1 AND seq <= $2 ORDER BY seq", int64(after), int64(after+journal.SegmentLen))
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	g = journal.NewSegment()
	var summary journal.Summary
	for found.Next() {
		var seq uint64
		var body []byte
		if err := found.Scan(&seq, &body); err != nil {
			return nil, fmt.Errorf("reading records: %w", err)
		}
		r, err := journal.DecodeRecord(seq, body)
		if err != nil {
			return nil, err
		}
		summary.Set(&r)
		g.Add(seq, &summary)
	}
	return g, found.Err()
}
