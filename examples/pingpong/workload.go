package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/fips"
)

// workload calls and answers with what it holds at the moment.
type workload struct {
	options
	mu    sync.Mutex
	held  pair
	count counts
}

// counts are of calls: each is a handshake, a ping and a pong.
type counts struct {
	calls, answers, failed atomic.Int64
	cut                    atomic.Int64           // a network or a process ended them
	last                   atomic.Pointer[string] // failure
}

func (c *counts) line() string {
	s := fmt.Sprintf("%d calls, %d answers, %d failed", c.calls.Load(), c.answers.Load(), c.failed.Load())
	if cut := c.cut.Load(); cut > 0 {
		s += fmt.Sprintf(", %d cut off", cut)
	}
	if last := c.last.Load(); last != nil {
		s += ", last: " + *last
	}
	return s
}

// fail counts a call that failed. One that a peer has never answered, as when a cable
// is pulled or a process killed, says nothing of certificates.
func (c *counts) fail(err error) {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.cut.Add(1)
		return
	}
	text := err.Error()
	c.failed.Add(1)
	c.last.Store(&text)
}

// hold takes a new certificate, and its bundle unless that is older.
func (w *workload) hold(fresh *client.Certificate) {
	t := fresh.TLS()
	w.mu.Lock()
	w.held.certificate = &t
	w.held.issuer = fresh.Chain[len(fresh.Chain)-1].Issuer.CommonName
	w.mu.Unlock()
	w.trust(fresh.Sequence, fresh.Bundle)
}

// trust takes the bundle of a sequence unless an older one.
func (w *workload) trust(sequence uint64, bundle []*x509.Certificate) {
	pool := x509.NewCertPool()
	for _, anchor := range bundle {
		pool.AddCert(anchor)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if sequence > w.held.sequence {
		w.held.sequence, w.held.pool = sequence, pool
	}
}

func (w *workload) now() pair {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held
}

func (w *workload) issuer() string { return w.now().issuer }

// listener asks each caller for a certificate under the anchors that are held.
func (w *workload) listener() (net.Listener, error) {
	config, err := fips.ServerTLS(fips.ServerTLSConfig{
		Certificate: func() (*tls.Certificate, error) { return w.now().certificate, nil },
		ClientCAs:   func() *x509.CertPool { return w.now().pool }, ClientAuth: fips.Require,
	})
	if err != nil {
		return nil, err
	}
	return tls.Listen("tcp", w.listen, config)
}

// answer answers each ping with a pong. A handshake that fails is counted here as
// well as by the caller: both sides have to be content.
func (w *workload) answer(ctx context.Context, l net.Listener) {
	go func() {
		<-ctx.Done()
		_ = l.Close()
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			var ping [4]byte
			_, err := io.ReadFull(conn, ping[:])
			if err == nil {
				_, err = conn.Write([]byte("pong"))
			}
			switch {
			case err == nil:
				w.count.answers.Add(1)
			case ctx.Err() == nil:
				w.count.fail(fmt.Errorf("answering: %w", err))
			}
		}()
	}
}

// call calls a peer without end. One that is not there yet, or no more, is waited for:
// what is counted is handshakes.
func (w *workload) call(ctx context.Context, peer string) {
	config, err := fips.WorkloadClientTLS(fips.WorkloadTLSConfig{
		Roots:       func() *x509.CertPool { return w.now().pool },
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return w.now().certificate, nil },
		Accept: func(leaf *x509.Certificate) error {
			if len(leaf.URIs) != 1 || leaf.URIs[0].Scheme != "spiffe" {
				return errors.New("the peer has no SPIFFE ID")
			}
			return nil
		},
	})
	if err != nil {
		w.count.fail(err)
		return
	}
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", peer)
		if err == nil {
			if err := ping(conn, config); err == nil {
				w.count.calls.Add(1)
			} else if ctx.Err() == nil {
				w.count.fail(fmt.Errorf("calling: %w", err))
			}
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func ping(conn net.Conn, config *tls.Config) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	t := tls.Client(conn, config)
	if _, err := t.Write([]byte("ping")); err != nil {
		return err
	}
	var pong [4]byte
	_, err := io.ReadFull(t, pong[:])
	return err
}

// reportTo writes the counts from time to time.
func (w *workload) reportTo(ctx context.Context, out io.Writer) {
	ticker := time.NewTicker(w.report)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			fmt.Fprintf(out, "%s %s\n", clock(), w.count.line())
		}
	}
}
