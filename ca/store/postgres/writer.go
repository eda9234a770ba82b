package postgres

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

// maxBatch bounds a commit: with records of at most 16 KiB, to 4 MiB.
const maxBatch = 256

// job is one row of a log. Exactly one of body, event and void is set.
type job struct {
	serial string // a record: its serial and its encoding
	body   []byte
	event  []byte        // an encoded event
	void   *journal.Void // a record that never left the process

	done chan error // gets one value, never blocks the writer
}

// writer commits what has queued up since its last commit: while one transaction is
// under way, the next one fills.
type writer struct {
	queue   chan *job
	stopped chan struct{} // closed when every accepted job has its answer

	mu     sync.RWMutex // excludes a send from the close of queue
	closed bool

	log *log // owned by the goroutine
}

func startWriter(queue int, l *log) *writer {
	w := &writer{queue: make(chan *job, queue), stopped: make(chan struct{}), log: l}
	go w.run()
	return w
}

// submit hands j to the goroutine and waits for its answer. When ctx ends first,
// the job may still be done: the outcome is unknown.
func (w *writer) submit(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return &ca.Error{Reason: ca.ReasonOverloaded, Err: fmt.Errorf("before it was queued: %w", err)}
	}
	if err := w.enqueue(j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return &ca.Error{Reason: ca.ReasonOverloaded, Err: fmt.Errorf("while it waited, outcome unknown: %w", ctx.Err())}
	}
}

func (w *writer) enqueue(j *job) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ca.Refuse(ca.ReasonDraining, "the store is closed")
	}
	select {
	case w.queue <- j:
		return nil
	default:
		return ca.Refuse(ca.ReasonOverloaded, "%d writes are waiting", cap(w.queue))
	}
}

// close answers what was accepted and takes nothing more.
func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	close(w.queue)
	w.mu.Unlock()
	<-w.stopped
	return w.log.close()
}

func (w *writer) run() {
	defer close(w.stopped)
	batch := make([]*job, 0, maxBatch)
	for j := range w.queue {
		batch = w.gather(append(batch[:0], j))
		w.log.commit(batch)
		clear(batch)
	}
}

// gather takes what has queued up, and yields once when there is no more: whoever is
// ready to run is about to queue a record (package sqlite says what that is worth).
func (w *writer) gather(batch []*job) []*job {
	hasYielded := false
	for len(batch) < maxBatch {
		select {
		case j, ok := <-w.queue:
			if !ok {
				return batch
			}
			batch = append(batch, j)
		default:
			if hasYielded {
				return batch
			}
			hasYielded = true
			runtime.Gosched()
		}
	}
	return batch
}
