package rotationtest

import (
	"bytes"
	"io"
	"net"
	"sync"
)

// wire is one end of a connection in memory whose writes never block: over net.Pipe,
// where they do, a client that refuses the first half of what the server sends waits
// for ever to say so while the server waits to send the other half. It knows no
// deadlines; each handshake ends because each side closes its end.
type wire struct {
	net.Conn // nil: nothing else is asked of it
	in, out  *flow
}

// flow is one direction.
type flow struct {
	mu     sync.Mutex
	change *sync.Cond
	data   bytes.Buffer
	closed bool
}

func newFlow() *flow {
	f := &flow{}
	f.change = sync.NewCond(&f.mu)
	return f
}

func newWire() (*wire, *wire) {
	there, back := newFlow(), newFlow()
	return &wire{in: back, out: there}, &wire{in: there, out: back}
}

// Read returns what was written, also after the peer closed.
func (w *wire) Read(b []byte) (int, error) {
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	for w.in.data.Len() == 0 {
		if w.in.closed {
			return 0, io.EOF
		}
		w.in.change.Wait()
	}
	return w.in.data.Read(b)
}

func (w *wire) Write(b []byte) (int, error) {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	if w.out.closed {
		return 0, io.ErrClosedPipe
	}
	w.out.change.Broadcast()
	return w.out.data.Write(b)
}

// Close ends what goes from here; what was written is still read.
func (w *wire) Close() error {
	for _, f := range []*flow{w.in, w.out} {
		f.mu.Lock()
		f.closed = true
		f.change.Broadcast()
		f.mu.Unlock()
	}
	return nil
}
