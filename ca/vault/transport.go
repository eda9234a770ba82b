package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Bounds of a connection and an answer.
const (
	dialTimeout  = 10 * time.Second
	idleTimeout  = 90 * time.Second
	maxAnswer    = 1 << 20
	maxHeader    = 64 << 10
	maxPEM       = 1 << 20
	idlePerAgent = 8
)

// newTransport speaks HTTP/1.1 over TLS. The files are read for each connection,
// so that the server's authority can be rotated under us; they are read here once
// so that a wrong path is found at the start.
func newTransport(c Config) (*http.Transport, error) {
	if _, err := c.tls(""); err != nil {
		return nil, err
	}
	return &http.Transport{
		MaxIdleConns: idlePerAgent, MaxIdleConnsPerHost: idlePerAgent, IdleConnTimeout: idleTimeout,
		ResponseHeaderTimeout: c.Timeout, MaxResponseHeaderBytes: maxHeader, DialTLSContext: c.dial,
	}, nil
}

// unpooled is t with a connection of its own for each request.
func unpooled(t *http.Transport) *http.Transport {
	t = t.Clone()
	t.DisableKeepAlives = true
	return t
}

func (c *Config) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config, err := c.tls(host)
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRootTLS, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errHandshake, err), raw.Close())
	}
	return conn, nil
}

// tls is the configuration of one connection.
func (c *Config) tls(host string) (*tls.Config, error) {
	text, err := readPublic(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("CA file %s holds no certificate", c.CAFile)
	}
	if c.ServerName != "" {
		host = c.ServerName
	}
	config := fips.ClientTLSConfig{Roots: roots, ServerName: host}
	if c.Login.Type == LoginCertificate {
		config.Certificate = c.Login.certificate
	}
	return fips.ClientTLS(config)
}

// readPublic reads a file that is no secret; mounted files may be links.
func readPublic(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO does not hold the open
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return io.ReadAll(io.LimitReader(f, maxPEM))
}

// bounded limits the size of every answer, and tells one that cannot be read from
// none.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	var begun atomic.Bool
	trace := &httptrace.ClientTrace{GotFirstResponseByte: func() { begun.Store(true) }}
	response, err := b.next.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	switch {
	case err != nil && begun.Load():
		return nil, fmt.Errorf("%w: %w", errCut, err)
	case err != nil:
		return nil, err
	}
	response.Body = &boundedBody{ReadCloser: response.Body, left: maxAnswer}
	return response, nil
}

// boundedBody fails, rather than ends, at the limit: half an answer is none.
type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
