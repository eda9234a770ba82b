package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// handshakeWait is how long a new connection waits for its turn. A handshake
// costs more than a certificate, and a restart brings every proxy at once.
const handshakeWait = 5 * time.Second

// errHandshakesFull ends a connection that waited too long for its turn.
var errHandshakesFull = errors.New("too many TLS handshakes at once")

// gatedCredentials limits concurrent handshakes. Memory for a handshake is
// allocated only once it is its turn.
type gatedCredentials struct {
	credentials.TransportCredentials
	slots   chan struct{}
	metrics *Metrics
}

// ServerHandshake waits for a slot, then shakes hands.
func (g *gatedCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	timer := time.NewTimer(handshakeWait)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
	case <-timer.C:
		g.metrics.handshakes.WithLabelValues("shed").Inc()
		return nil, nil, errHandshakesFull
	}
	defer func() { <-g.slots }()
	g.metrics.shaking.Inc()
	defer g.metrics.shaking.Dec()
	secured, info, err := g.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		g.metrics.handshakes.WithLabelValues("failed").Inc()
		return nil, nil, fmt.Errorf("TLS handshake with %s: %w", conn.RemoteAddr(), err)
	}
	g.metrics.handshakes.WithLabelValues("ok").Inc()
	return secured, info, nil
}

// Clone implements credentials.TransportCredentials; the copy shares the slots.
func (g *gatedCredentials) Clone() credentials.TransportCredentials {
	c := *g
	c.TransportCredentials = g.TransportCredentials.Clone()
	return &c
}

// ClientHandshake is for the interface; a server never calls it.
func (g *gatedCredentials) ClientHandshake(ctx context.Context, name string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return g.TransportCredentials.ClientHandshake(ctx, name, conn)
}
