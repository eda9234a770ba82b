package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

// maxBatch bounds a commit: with records of at most 16 KiB, to 4 MiB.
const maxBatch = 256

// job is one write. Exactly one of the kinds is set.
type job struct {
	serial  string // a record: its serial, its encoding and its summary
	body    []byte
	summary journal.Summary

	event []byte            // an encoded event
	void  *journal.Void     // a record that never left the process
	alone func(*conn) error // anything else, by itself

	done chan error // gets one value, never blocks the writer
}

// writer owns the only connection that writes. Its goroutine takes jobs from the
// queue: records, events and voids together in one transaction, the others alone.
type writer struct {
	queue   chan *job
	stopped chan struct{} // closed when every accepted job has its answer
	jobs    sync.Pool     // of *job whose answer was taken

	mu     sync.RWMutex // excludes a send from the close of queue
	closed bool

	log        *log // owned by the goroutine
	checkpoint *checkpointer
}

func startWriter(c Config, path string, exists func(serial string) (bool, error)) (*writer, error) {
	w := &writer{
		queue: make(chan *job, c.Queue), stopped: make(chan struct{}),
		log: &log{dsn: writeDSN(path), exists: exists, suspect: suspectFirst},
	}
	if err := w.log.open(migrate); err != nil {
		return nil, err
	}
	checkpoint, err := startCheckpointer(path, w)
	if err != nil {
		return nil, errors.Join(err, w.log.close())
	}
	w.checkpoint = checkpoint
	go w.run()
	return w, nil
}

func (w *writer) newJob() *job {
	if j, ok := w.jobs.Get().(*job); ok {
		return j
	}
	return &job{done: make(chan error, 1)}
}

// submit hands j to the goroutine and waits for its answer. When ctx ends first,
// the job may still be done: the outcome is unknown. The caller must not touch j
// any more.
func (w *writer) submit(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return &ca.Error{Reason: ca.ReasonOverloaded, Err: fmt.Errorf("before it was queued: %w", err)}
	}
	if err := w.enqueue(j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		j.serial, j.event, j.void, j.alone = "", nil, nil, nil
		w.jobs.Put(j)
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

// stop answers what was accepted and takes nothing more.
func (w *writer) stop() {
	w.mu.Lock()
	w.closed = true
	close(w.queue)
	w.mu.Unlock()
	<-w.stopped
}

// close is called after stop.
func (w *writer) close() error {
	return errors.Join(w.checkpoint.close(), w.log.close())
}

func (w *writer) run() {
	defer close(w.stopped)
	batch := make([]*job, 0, maxBatch)
	for j := range w.queue {
		var alone *job
		if batch, alone = w.gather(j, batch[:0]); len(batch) > 0 {
			w.log.commit(batch)
			clear(batch)
		}
		if alone != nil {
			alone.done <- w.log.exclusive(alone.alone)
		}
		w.checkpoint.wrote(w.log.takeWritten())
	}
}

// gather takes what has queued up behind j, in order, until there is no more, the
// batch is full, or a job comes that wants to be alone, which it returns too.
//
// When the queue is empty it yields once: whoever is ready to run comes first, and
// many of those are about to queue a record. Without load that takes no time at
// all; on a busy machine it turned commits of 3 records into commits of 60, and a
// commit costs as much CPU as 20 records. A timer would cost as much latency when
// there is nothing to wait for.
func (w *writer) gather(j *job, batch []*job) (shared []*job, alone *job) {
	hasYielded := false
	for j != nil {
		if j.alone != nil {
			return batch, j
		}
		if batch = append(batch, j); len(batch) == maxBatch {
			return batch, nil
		}
		if j = w.next(); j == nil && !hasYielded {
			hasYielded = true
			runtime.Gosched()
			j = w.next()
		}
	}
	return batch, nil
}

// next returns the next job if there is one.
func (w *writer) next() *job {
	select {
	case j := <-w.queue:
		return j // nil when the queue is closed
	default:
		return nil
	}
}
