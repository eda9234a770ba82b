package sqlite

import (
	"context"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

// Intend implements ca.Recorder. A full queue or an ended ctx is ReasonOverloaded;
// everything else that goes wrong is ReasonRecordFailed.
func (s *Store) Intend(ctx context.Context, r ca.Record) error {
	if s.writes == nil {
		return errReadOnly()
	}
	j := s.writes.newJob()
	var err error
	if j.body, err = journal.AppendRecord(j.body[:0], &r); err != nil {
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: err}
	}
	j.serial = r.Serial
	j.summary.Set(&r)
	return s.writes.submit(ctx, j)
}

// Void implements ca.Recorder. A serial that was never recorded is
// ReasonNotFound; a record that is void already keeps its first reason.
func (s *Store) Void(ctx context.Context, serial, reason string) error {
	if s.writes == nil {
		return errReadOnly()
	}
	found, err := s.Records(ctx, ca.Query{Serial: serial, Newest: true, Limit: 1})
	if err != nil {
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: err}
	}
	if len(found) == 0 {
		return ca.Refuse(ca.ReasonNotFound, "serial %s", serial)
	}
	void := journal.Void{Record: found[0].Seq, Reason: reason}
	if err := void.Check(); err != nil {
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: fmt.Errorf("voiding serial %s: %w", serial, err)}
	}
	j := s.writes.newJob()
	j.void = &void
	return s.writes.submit(ctx, j)
}

// Append implements ca.EventLog.
func (s *Store) Append(ctx context.Context, e ca.Event) error {
	if s.writes == nil {
		return errReadOnly()
	}
	body, err := journal.EncodeEvent(e)
	if err != nil {
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: err}
	}
	j := s.writes.newJob()
	j.event = body
	return s.writes.submit(ctx, j)
}

func errReadOnly() error {
	return ca.Refuse(ca.ReasonNotReady, "the store is open read-only")
}
