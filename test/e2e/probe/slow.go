package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// perByte is the pace of slow clients.
const perByte = time.Second

// holdIdle opens connections as proxies hold them between renewals, prints how
// many it has, and keeps them until ctx ends.
func holdIdle(ctx context.Context, o options) error {
	open, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	connections := make([]*h2conn, 0, o.clients)
	for range o.clients {
		c, err := o.open(open)
		if err != nil {
			return fmt.Errorf("connection %d: %w", len(connections)+1, err)
		}
		// One answered call makes sure that the server has set everything up.
		if end, err := c.request(1, openMethod); err != nil || !strings.HasPrefix(end, "grpc-status 0") {
			return fmt.Errorf("connection %d: %s: %w", len(connections)+1, end, err)
		}
		connections = append(connections, c)
	}
	lost := atomic.Int64{}
	for _, c := range connections {
		go func() {
			c.stayAlive()
			lost.Add(1)
		}()
	}
	fmt.Printf("connected %d\n", len(connections))
	<-ctx.Done()
	fmt.Printf("lost %d\n", lost.Load())
	for _, c := range connections {
		_ = c.tls.Close() // the process ends
	}
	return nil
}

// stayAlive answers pings until the connection ends.
func (c *h2conn) stayAlive() {
	if err := c.tls.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return
		}
		if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() {
			if err := c.WritePing(true, ping.Data); err != nil {
				return
			}
		}
	}
}

// holdSlow opens connections of one kind of bad client, prints how many it has,
// and at the end how many of them the server closed.
func holdSlow(ctx context.Context, o options) error {
	behave := map[string]func(context.Context, options) error{
		"silent":    silent,
		"handshake": slowHandshake,
		"writer":    slowWriter,
		"reader":    slowReader,
	}[o.kind]
	if behave == nil {
		return fmt.Errorf("--kind must be silent, handshake, writer or reader")
	}
	var clients sync.WaitGroup
	var closed atomic.Int64
	for range o.clients {
		clients.Go(func() {
			if err := behave(ctx, o); err != nil && ctx.Err() == nil {
				closed.Add(1)
			}
		})
	}
	fmt.Printf("started %d\n", o.clients)
	go func() {
		for ctx.Err() == nil {
			time.Sleep(perByte)
			fmt.Printf("closed %d\n", closed.Load())
		}
	}()
	<-ctx.Done()
	clients.Wait()
	return nil
}

// silent connects and never says a word.
func silent(ctx context.Context, o options) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.server)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_, err = conn.Read(make([]byte, 1))
	return err
}

// slowHandshake sends a ClientHello a byte a second.
func slowHandshake(ctx context.Context, o options) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.server)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The head of a record of 256 bytes that holds a ClientHello (RFC 8446 §5.1).
	hello := append([]byte{22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3}, make([]byte, 245)...)
	for _, b := range hello {
		if _, err := conn.Write([]byte{b}); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// slowWriter sends a request a byte a second, one TLS record each.
func slowWriter(ctx context.Context, o options) error {
	c, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer c.tls.Close()
	block := headers("/" + service + "/Issue")
	frame := append([]byte{0, 0, byte(len(block)), byte(http2.FrameHeaders), byte(http2.FlagHeadersEndHeaders), 0, 0, 0, 1}, block...)
	for _, b := range frame {
		if _, err := c.tls.Write([]byte{b}); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// slowReader asks for a lot and reads a byte a second.
func slowReader(ctx context.Context, o options) error {
	c, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer c.tls.Close()
	for n := range uint32(100) {
		err := errors.Join(
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*n + 1, BlockFragment: headers(openMethod), EndHeaders: true}),
			c.WriteData(2*n+1, true, make([]byte, 5)))
		if err != nil {
			return err
		}
	}
	for {
		if _, err := io.ReadFull(c.tls.NetConn(), make([]byte, 1)); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(perByte):
		return nil
	}
}
