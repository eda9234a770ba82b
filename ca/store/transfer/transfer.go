package transfer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/ledger"
	"github.com/kedge-ca/kedge/ca/store/schema"
)

// End is a store that is opened to be moved from or to, and by nobody else.
type End struct {
	DB      *sql.DB
	Dialect schema.Dialect
	Place   string // for messages, and for the mark in the source
	Replica string // whose state is this server's
	// Freeze keeps writers out until the transaction ends, and refuses when there is
	// one.
	Freeze func(context.Context, *sql.Tx) error
	Close  func() error
}

// Progress is told of the rows of a table that are done, of all there are.
type Progress func(table string, done, of uint64)

// Move moves everything and returns how many records there are.
func Move(ctx context.Context, from, to *End, progress Progress) (records uint64, err error) {
	source, err := from.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer source.rollback(&err)
	target, err := to.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer target.rollback(&err)
	if source.movedTo != "" && source.movedTo != to.Place {
		return 0, fmt.Errorf("%s: %w", from.Place, ledger.ErrMoved(source.movedTo))
	}
	name, err := target.content(ctx)
	if err != nil {
		return 0, err
	}
	switch {
	case name == "":
		records, err = fill(ctx, source, target, progress)
	case name == source.mark.Store: // the last call got so far
		if records, err = target.mark.Records.Seq, same(source.mark, target.mark); err != nil || target.movedTo != "" {
			err = errors.New("it has another state of the same store; move into one that is empty")
		}
	default:
		err = errors.New("it is not empty; move into a store that has no authority")
	}
	if err != nil {
		return 0, fmt.Errorf("moving to %s: %w", to.Place, err)
	}
	if err := target.tx.Commit(); err != nil {
		return 0, fmt.Errorf("moving to %s, outcome unknown: %w; do it again, which is safe", to.Place, err)
	}
	if err := source.leave(ctx, to.Place); err != nil {
		return 0, fmt.Errorf("everything is in %s, but %s could not be marked: %w; do it again before a server starts", to.Place, from.Place, err)
	}
	return records, nil
}

// side is one end in its transaction.
type side struct {
	*End
	tx      *sql.Tx
	reader  *ledger.Reader
	mark    store.Mark
	movedTo string
}

func (e *End) begin(ctx context.Context) (*side, error) {
	tx, err := e.DB.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", e.Place, err)
	}
	s := &side{End: e, tx: tx, reader: ledger.NewReader(tx, e.Dialect, e.Replica)}
	err = e.Freeze(ctx, tx)
	if err == nil {
		s.mark, err = s.reader.Mark(ctx)
	}
	var moved sql.NullString
	if err == nil {
		err = tx.QueryRowContext(ctx, "SELECT moved_to FROM store WHERE id = 1").Scan(&moved)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", e.Place, err), tx.Rollback())
	}
	s.movedTo = moved.String
	return s, nil
}

func (s *side) rollback(err *error) {
	if rollbackErr := s.tx.Rollback(); !errors.Is(rollbackErr, sql.ErrTxDone) {
		*err = errors.Join(*err, rollbackErr)
	}
}

// content is the name of the store when it has any row, "" when it is empty.
func (s *side) content(ctx context.Context) (string, error) {
	for _, t := range tables {
		n, err := s.count(ctx, t)
		if err != nil {
			return "", err
		}
		if n > 0 {
			return s.mark.Store, nil
		}
	}
	return "", nil
}

func (s *side) count(ctx context.Context, t table) (n uint64, err error) {
	if err := s.tx.QueryRowContext(ctx, "SELECT count(*) FROM "+t.name).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting %s: %w", t.name, err)
	}
	return n, nil
}

// same compares what two stores have; they were opened a different number of times.
func same(a, b store.Mark) error {
	a.Generation, b.Generation = 0, 0
	if a != b {
		return fmt.Errorf("the copy differs: %+v there, %+v here", b, a)
	}
	return nil
}

// fill copies every table and verifies the copy before it is committed.
func fill(ctx context.Context, source, target *side, progress Progress) (uint64, error) {
	if err := target.rename(ctx, source.mark); err != nil {
		return 0, err
	}
	for _, t := range tables {
		n, err := source.count(ctx, t)
		if err != nil {
			return 0, err
		}
		if err := copyTable(ctx, source, target, copying{table: t, rows: n, progress: progress}); err != nil {
			return 0, fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	records, err := target.reader.Verify(ctx)
	if err != nil {
		return 0, fmt.Errorf("verifying the copy: %w", err)
	}
	mark, err := target.reader.Mark(ctx)
	if err != nil {
		return 0, err
	}
	return records, same(source.mark, mark)
}

// rename makes the target the store that the source was.
func (s *side) rename(ctx context.Context, m store.Mark) error {
	_, err := s.tx.ExecContext(ctx, s.Dialect.Bind("UPDATE store SET name = ?, generation = ?, moved_to = NULL WHERE id = 1"), m.Store, int64(m.Generation)+1)
	if err != nil {
		return fmt.Errorf("naming the store: %w", err)
	}
	return nil
}

// leave marks the source: its content is elsewhere.
func (s *side) leave(ctx context.Context, place string) error {
	if _, err := s.tx.ExecContext(ctx, s.Dialect.Bind("UPDATE store SET moved_to = ? WHERE id = 1"), place); err != nil {
		return err
	}
	return s.tx.Commit()
}
