package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

// maxBatch bounds a commit: with records of at most 16 KiB, to 4 MiB.
const maxBatch = 256

// job is one write. Exactly one of the kinds is set.
type job struct {
	record *ca.Record // with body, its encoding
	body   []byte
	event  []byte        // an encoded event
	void   *journal.Void // a record that never left the process
	do     func(*conn) error
	done   chan error // gets one value, never blocks the writer
}

// writer owns the only connection that writes. Its goroutine takes jobs from the
// queue: records, events and voids together in one transaction, a do alone.
type writer struct {
	queue   chan *job
	closing chan struct{} // closed: accept nothing more
	stopped chan struct{} // closed: nothing is answered any more
	window  time.Duration
	jobs    sync.Pool // of *job whose answer was taken

	log        *log // owned by the goroutine
	checkpoint *checkpointer
}

func startWriter(c Config, path string, exists func(serial string) (bool, error)) (*writer, error) {
	w := &writer{
		queue: make(chan *job, c.Queue), closing: make(chan struct{}), stopped: make(chan struct{}),
		window: c.Window, log: &log{dsn: writeDSN(path), exists: exists, suspect: suspectFirst},
	}
	if err := w.log.open(migrate); err != nil {
		return nil, errors.Join(err, w.log.close())
	}
	checkpoint, err := startCheckpointer(path, w)
	if err != nil {
		return nil, errors.Join(err, w.log.close())
	}
	w.checkpoint = checkpoint
	go w.run()
	return w, nil
}

// submit hands j to the goroutine and waits for its answer. When ctx ends first,
// the job may still be done: the outcome is unknown.
func (w *writer) submit(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return &ca.Error{Reason: ca.ReasonOverloaded, Err: fmt.Errorf("before it was queued: %w", err)}
	}
	select {
	case <-w.closing:
		return errClosed()
	default:
	}
	select {
	case w.queue <- j:
	default:
		return ca.Refuse(ca.ReasonOverloaded, "%d writes are waiting", cap(w.queue))
	}
	select {
	case err := <-j.done:
		*j = job{done: j.done}
		w.jobs.Put(j)
		return err
	case <-ctx.Done():
		return &ca.Error{Reason: ca.ReasonOverloaded, Err: fmt.Errorf("while it waited, outcome unknown: %w", ctx.Err())}
	case <-w.stopped:
	}
	select { // the last answers were given before stopped was closed
	case err := <-j.done:
		return err
	default:
		return errClosed()
	}
}

func errClosed() error { return ca.Refuse(ca.ReasonDraining, "the store is closed") }

func (w *writer) newJob() *job {
	if j, ok := w.jobs.Get().(*job); ok {
		return j
	}
	return &job{done: make(chan error, 1)}
}

func (w *writer) run() {
	defer close(w.stopped)
	batch := make([]*job, 0, maxBatch)
	for {
		select {
		case j := <-w.queue:
			batch = w.handle(j, batch)
		case <-w.closing:
			select { // what was queued before is still done
			case j := <-w.queue:
				batch = w.handle(j, batch)
			default:
				return
			}
		}
	}
}

// handle does j, and with it every job that can share its commit. It returns the
// emptied batch for the next call.
func (w *writer) handle(j *job, batch []*job) []*job {
	batch, alone := w.gather(j, batch[:0])
	if len(batch) > 0 {
		w.log.commit(batch)
		w.checkpoint.wrote(w.log.takeWritten())
	}
	if alone != nil {
		alone.done <- w.log.exclusive(alone.do)
		w.checkpoint.wrote(w.log.takeWritten())
	}
	clear(batch)
	return batch
}

// gather takes what has queued up behind j, in order, until the batch is full or
// a job comes that wants a transaction of its own, which it returns as alone.
func (w *writer) gather(j *job, batch []*job) (shared []*job, alone *job) {
	var timeout <-chan time.Time
	for {
		if j.do != nil {
			return batch, j
		}
		batch = append(batch, j)
		if len(batch) == maxBatch {
			return batch, nil
		}
		select {
		case j = <-w.queue:
			continue
		default:
		}
		if w.window == 0 || len(batch) == 1 && w.log.last < 2 { // a lone caller never waits
			return batch, nil
		}
		if timeout == nil {
			timeout = time.After(w.window)
		}
		select {
		case j = <-w.queue:
		case <-timeout:
			return batch, nil
		case <-w.closing:
			return batch, nil
		}
	}
}

func (w *writer) close() error {
	close(w.closing)
	<-w.stopped
	return errors.Join(w.checkpoint.close(), w.log.close())
}
