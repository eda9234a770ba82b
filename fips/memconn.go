package fips

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// memConnPair returns the two ends of a connection in memory. Writes never
// block: over net.Pipe, where they do, a client that refuses the first half of
// the server's flight waits for ever to say so while the server waits to send
// the other half.
func memConnPair() (net.Conn, net.Conn) {
	ab, ba := newStream(), newStream()
	return &memConn{in: ba, out: ab}, &memConn{in: ab, out: ba}
}

// stream is one direction.
type stream struct {
	mu     sync.Mutex
	change *sync.Cond
	data   bytes.Buffer
	closed bool
}

func newStream() *stream {
	s := &stream{}
	s.change = sync.NewCond(&s.mu)
	return s
}

func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.change.Broadcast()
}

// memConn is one end. It knows no deadlines: each handshake ends because each
// side closes its end when it is done.
type memConn struct{ in, out *stream }

// Read returns what was written, also after the peer closed.
func (c *memConn) Read(b []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for c.in.data.Len() == 0 {
		if c.in.closed {
			return 0, io.EOF
		}
		c.in.change.Wait()
	}
	return c.in.data.Read(b)
}

func (c *memConn) Write(b []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.closed {
		return 0, io.ErrClosedPipe
	}
	c.out.change.Broadcast()
	return c.out.data.Write(b)
}

func (c *memConn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

func (c *memConn) LocalAddr() net.Addr              { return memAddr{} }
func (c *memConn) RemoteAddr() net.Addr             { return memAddr{} }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

type memAddr struct{}

func (memAddr) Network() string { return "memory" }
func (memAddr) String() string  { return "memory" }
