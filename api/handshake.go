package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// handshakeWait is how long a handshake waits for its turn. It costs more than a
// certificate, and a restart brings every proxy at once.
const handshakeWait = 5 * time.Second

var (
	// errHandshakesFull ends a connection that waited too long for its turn.
	errHandshakesFull = errors.New("too many TLS handshakes at once")
	// errNoALPN ends a connection that did not agree on HTTP/2 (RFC 9113 §3.2).
	// grpc-go refuses it too, but an environment variable can switch that off.
	errNoALPN = errors.New("the client did not negotiate h2")
	// errPanicked ends a connection in whose handshake there was a panic.
	errPanicked = errors.New("panic in a handshake")
)

// gatedCredentials limits how many handshakes compute at once. A handshake that
// waits for bytes of its client holds no slot; else as many silent connections as
// there are slots would keep every proxy out.
type gatedCredentials struct {
	credentials.TransportCredentials
	slots   chan struct{}
	drain   context.Context // over when the server drains
	metrics *Metrics
	log     *slog.Logger
	noALPN  bool // a client may offer no protocol
}

// ServerHandshake shakes hands as slots are free.
func (g *gatedCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	g.metrics.shaking.Inc()
	defer g.metrics.shaking.Dec()
	// A drain waits for handshakes, and a silent client would make it wait long.
	stop := context.AfterFunc(g.drain, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	gated := &gatedConn{Conn: conn, slots: g.slots, shaking: true}
	secured, info, err := g.shake(gated)
	if err != nil {
		result := "failed"
		if errors.Is(err, errHandshakesFull) {
			result = "shed"
		}
		g.metrics.handshakes.WithLabelValues(result).Inc()
		return nil, nil, fmt.Errorf("TLS handshake with %s: %w", conn.RemoteAddr(), err)
	}
	g.metrics.handshakes.WithLabelValues("ok").Inc()
	g.metrics.connections.Inc()
	gated.closed = g.metrics.connections.Dec
	return secured, info, nil
}

func (g *gatedCredentials) shake(gated *gatedConn) (secured net.Conn, info credentials.AuthInfo, err error) {
	// grpc-go catches no panic here, and one such as that of CVE-2024-24783, in the
	// verification of a client's chain, would end the process.
	defer func() {
		if p := recover(); p != nil {
			g.metrics.panics.Inc()
			g.log.Error("panic in a handshake", "peer", gated.RemoteAddr().String(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			secured, info, err = nil, nil, errPanicked
		}
	}()
	if err := gated.enter(); err != nil {
		return nil, nil, err
	}
	defer gated.end()
	secured, info, err = g.TransportCredentials.ServerHandshake(gated)
	if err != nil {
		return nil, nil, err
	}
	t, ok := info.(credentials.TLSInfo)
	if !ok || t.State.NegotiatedProtocol != "h2" && !(g.noALPN && t.State.NegotiatedProtocol == "") {
		return nil, nil, errors.Join(errNoALPN, secured.Close())
	}
	return secured, info, nil
}

// Clone implements credentials.TransportCredentials; the copy shares the slots.
func (g *gatedCredentials) Clone() credentials.TransportCredentials {
	c := *g
	c.TransportCredentials = g.TransportCredentials.Clone()
	return &c
}

// gatedConn is a connection that holds a slot while its handshake computes. Only
// the handshake's goroutine uses it until end.
type gatedConn struct {
	net.Conn
	slots   chan struct{}
	shaking bool
	inside  bool
	closed  func() // called once, at the first Close
	once    sync.Once
}

// Read gives the slot back while it waits for the client.
func (c *gatedConn) Read(b []byte) (int, error) {
	if !c.shaking {
		return c.Conn.Read(b)
	}
	c.leave()
	n, err := c.Conn.Read(b)
	if err != nil {
		return n, err
	}
	return n, c.enter()
}

// Close closes the connection and counts that, once.
func (c *gatedConn) Close() error {
	if c.closed != nil {
		c.once.Do(c.closed)
	}
	return c.Conn.Close()
}

// enter waits for a slot.
func (c *gatedConn) enter() error {
	select {
	case c.slots <- struct{}{}:
		c.inside = true
		return nil
	default:
	}
	timer := time.NewTimer(handshakeWait)
	defer timer.Stop()
	select {
	case c.slots <- struct{}{}:
		c.inside = true
		return nil
	case <-timer.C:
		return errHandshakesFull
	}
}

// leave gives the slot back, if there is one.
func (c *gatedConn) leave() {
	if c.inside {
		c.inside = false
		<-c.slots
	}
}

// end ends the handshake: from now on the connection is an ordinary one.
func (c *gatedConn) end() {
	c.leave()
	c.shaking = false
}
