package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
)

// Sizes of the write-ahead log. At checkpointAt its pages are copied into the
// database, beside the writer, which goes on. The log can begin anew only when
// every page was copied and no reader is in it, which never happens by itself
// under load; at restartAt the writer copies the last pages and waits for readers,
// for readersWait at most, and its next commit begins the log anew. If a reader
// is slower than that, the next checkpoint tries again.
const (
	checkpointAt = 4 << 20  // bytes
	restartAt    = 16 << 20 // bytes
	pageSize     = 4096
	busyTimeout  = "PRAGMA busy_timeout = 5000" // milliseconds
	readersWait  = "PRAGMA busy_timeout = 20"
)

// checkpointer keeps the write-ahead log short, on a connection of its own.
type checkpointer struct {
	writer  *writer
	conn    *conn
	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}

	pending int   // bytes written since the last wake; the writer's goroutine only
	err     error // why it does not work; read after stopped
}

func startCheckpointer(path string, w *writer) (*checkpointer, error) {
	c, err := dial(writeDSN(path))
	if err != nil {
		return nil, err
	}
	k := &checkpointer{
		writer: w, conn: c,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go k.run()
	return k, nil
}

// wrote notes that n more bytes are in the write-ahead log.
func (k *checkpointer) wrote(n int) {
	k.pending += n
	if k.pending < checkpointAt {
		return
	}
	k.pending = 0
	select {
	case k.wake <- struct{}{}:
	default: // it is awake
	}
}

func (k *checkpointer) run() {
	defer close(k.stopped)
	for {
		select {
		case <-k.wake:
			k.err = k.checkpoint()
		case <-k.stop:
			return
		}
	}
}

// checkpoint copies pages. Its failures are tried again with the next pages; what
// fails for good, such as a full disk, fails the commits too, which tell.
func (k *checkpointer) checkpoint() error {
	pages, err := copyPages(k.conn, "PASSIVE")
	if err != nil {
		return err
	}
	if pages*pageSize < restartAt {
		return nil
	}
	j := k.writer.newJob()
	j.alone = restart
	if err := k.writer.submit(context.Background(), j); ca.ReasonOf(err) != ca.ReasonDraining {
		return err
	}
	return nil // closing copies the rest
}

// restart runs on the connection of the writer.
func restart(c *conn) error {
	if _, err := c.query(readersWait); err != nil {
		return err
	}
	if _, err := copyPages(c, "RESTART"); err != nil {
		return err
	}
	_, err := c.query(busyTimeout)
	return err
}

// copyPages makes a checkpoint and returns how many pages the write-ahead log has.
func copyPages(c *conn, mode string) (int64, error) {
	rows, err := c.query("PRAGMA wal_checkpoint(" + mode + ")") // busy, pages in the log, pages copied
	if err != nil {
		return 0, err
	}
	if len(rows) != 1 || len(rows[0]) != 3 {
		return 0, fmt.Errorf("checkpoint answered %d rows", len(rows))
	}
	pages, _ := rows[0][1].(int64)
	return pages, nil
}

// close is called when the writer has stopped.
func (k *checkpointer) close() error {
	close(k.stop)
	<-k.stopped
	return errors.Join(k.err, k.conn.close())
}
