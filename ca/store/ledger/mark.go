package ledger

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

// Mark implements store.Marker.
func (r *Reader) Mark(ctx context.Context) (store.Mark, error) {
	var m store.Mark
	err := r.queryRow(ctx, "SELECT name, generation FROM store WHERE id = 1").Scan(&m.Store, &m.Generation)
	if err != nil {
		return store.Mark{}, fmt.Errorf("reading the store's name: %w", err)
	}
	// No version ever falls, and no row with one is ever removed.
	err = r.queryRow(ctx, `SELECT CAST((SELECT coalesce(sum(version), 0) FROM documents) + (SELECT coalesce(sum(version), 0) FROM replica_states) AS `+
		r.dialect.Integer+`)`).Scan(&m.Versions)
	if err != nil {
		return store.Mark{}, fmt.Errorf("adding versions: %w", err)
	}
	for log, end := range map[journal.Log]*store.End{journal.Records: &m.Records, journal.Events: &m.Events} {
		seq, head, err := r.Head(ctx, log)
		if err != nil {
			return store.Mark{}, err
		}
		*end = store.End{Seq: seq, Head: hex.EncodeToString(head[:])}
	}
	return m, nil
}

// Holds implements store.Marker.
func (r *Reader) Holds(ctx context.Context, m store.Mark) error {
	now, err := r.Mark(ctx)
	if err != nil {
		return err
	}
	if now.Store != m.Store {
		return fmt.Errorf("%w: its name is %s, and that of the one that was written to %s", store.ErrBehind, now.Store, m.Store)
	}
	for _, log := range []struct {
		name      journal.Log
		end, then store.End
	}{{journal.Records, now.Records, m.Records}, {journal.Events, now.Events, m.Events}} {
		if log.end.Seq < log.then.Seq {
			return fmt.Errorf("%w: its log of %s ends at %d, and %d were written", store.ErrBehind, log.name, log.end.Seq, log.then.Seq)
		}
		if err := r.holdsEnd(ctx, log.name, log.then); err != nil {
			return err
		}
	}
	if now.Generation < m.Generation {
		return fmt.Errorf("%w: it has been opened %d times, and was opened %d times before", store.ErrBehind, now.Generation, m.Generation)
	}
	if now.Versions < m.Versions {
		return fmt.Errorf("%w: its documents and states have changed %d times, and had changed %d times before", store.ErrBehind, now.Versions, m.Versions)
	}
	return nil
}

// holdsEnd compares the hash that a log had at some earlier end of it.
func (r *Reader) holdsEnd(ctx context.Context, log journal.Log, then store.End) error {
	if then.Seq == 0 {
		return nil
	}
	var head []byte
	err := r.queryRow(ctx, "SELECT head FROM "+string(log)+" WHERE seq = ?", int64(then.Seq)).Scan(&head)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("reading the log of %s: %w", log, err)
	}
	if hex.EncodeToString(head) != then.Head {
		return fmt.Errorf("%w: its log of %s is not the one that had %d rows; two servers have gone on from one copy", store.ErrBehind, log, then.Seq)
	}
	return nil
}
