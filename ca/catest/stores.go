package catest

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/kedge-ca/kedge/ca"
)

// Recorder keeps records in memory. Fail, when set, is asked before each Intend;
// Discard keeps nothing, for benchmarks.
type Recorder struct {
	Fail    func(ca.Record) error
	Discard bool

	mu      sync.Mutex
	records []ca.Record
}

var _ ca.Recorder = (*Recorder)(nil)

// Intend implements ca.Recorder.
func (r *Recorder) Intend(_ context.Context, rec ca.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Fail != nil {
		if err := r.Fail(rec); err != nil {
			return err
		}
	}
	if r.Discard {
		return nil
	}
	rec.Seq = uint64(len(r.records) + 1)
	r.records = append(r.records, rec)
	return nil
}

// Void implements ca.Recorder.
func (r *Recorder) Void(_ context.Context, serial, reason string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.records {
		if r.records[i].Serial == serial {
			r.records[i].VoidedReason = reason
			return nil
		}
	}
	return ca.Refuse(ca.ReasonNotFound, "serial %s", serial)
}

// Records is what was recorded so far, oldest first.
func (r *Recorder) Records() []ca.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]ca.Record(nil), r.records...)
}

// StateStore keeps a state in memory. Fault, when set, is asked before each
// Replace: persisted tells whether the failed write took effect all the same.
type StateStore struct {
	Fault func() (err error, persisted bool)

	mu      sync.Mutex
	body    []byte
	version ca.Version
}

var _ ca.StateStore = (*StateStore)(nil)

// Load implements ca.StateStore.
func (s *StateStore) Load(context.Context) (ca.State, ca.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var state ca.State
	if s.version == 0 {
		return state, 0, nil
	}
	err := json.Unmarshal(s.body, &state)
	return state, s.version, err
}

// Replace implements ca.StateStore.
func (s *StateStore) Replace(_ context.Context, old ca.Version, next ca.State) (ca.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != s.version {
		return 0, ca.Refuse(ca.ReasonStale, "version is %d, not %d", s.version, old)
	}
	body, err := json.Marshal(next)
	if err != nil {
		return 0, err
	}
	var fault error
	if s.Fault != nil {
		var persisted bool
		if fault, persisted = s.Fault(); fault != nil && !persisted {
			return 0, fault
		}
	}
	s.body, s.version = body, s.version+1
	if fault != nil {
		return 0, fault
	}
	return s.version, nil
}

// Events keeps events in memory. Fail, when set, is asked before each Append.
type Events struct {
	Fail func(ca.Event) error

	mu     sync.Mutex
	events []ca.Event
}

var _ ca.EventLog = (*Events)(nil)

// Append implements ca.EventLog.
func (l *Events) Append(_ context.Context, e ca.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Fail != nil {
		if err := l.Fail(e); err != nil {
			return err
		}
	}
	e.Seq = uint64(len(l.events) + 1)
	l.events = append(l.events, e)
	return nil
}

// All are the events that were recorded, in order.
func (l *Events) All() []ca.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]ca.Event(nil), l.events...)
}

// Actions are the actions that were recorded, in order.
func (l *Events) Actions() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var actions []string
	for _, e := range l.events {
		actions = append(actions, e.Action)
	}
	return actions
}
