package postgres

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
	body, err := journal.AppendRecord(nil, &r)
	if err != nil {
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: err}
	}
	return s.writes.submit(ctx, &job{serial: r.Serial, body: body, done: make(chan error, 1)})
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
	return s.writes.submit(ctx, &job{void: &void, done: make(chan error, 1)})
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
	return s.writes.submit(ctx, &job{event: body, done: make(chan error, 1)})
}
