package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/api/trustbundle"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
)

// bundleEndpointConfig is the section of the endpoint that federated domains and
// control planes read the trust bundle from. No address, no endpoint.
type bundleEndpointConfig struct {
	Listen   string `yaml:"listen" json:"listen"`
	CertFile string `yaml:"certFile" json:"certFile"` // of an authority that its readers trust already; "": our own
	KeyFile  string `yaml:"keyFile" json:"keyFile"`
}

func (c *config) bundleEndpointProblems(add addProblem) {
	e := c.BundleEndpoint
	if e == (bundleEndpointConfig{}) {
		return
	}
	if _, _, err := net.SplitHostPort(e.Listen); err != nil {
		add("bundleEndpoint.listen", "%v", err)
	}
	if (e.CertFile == "") != (e.KeyFile == "") {
		add("bundleEndpoint", "certFile and keyFile go together")
	}
	for key, path := range map[string]string{"certFile": e.CertFile, "keyFile": e.KeyFile} {
		if path != "" && !filepath.IsAbs(path) {
			add("bundleEndpoint."+key, "%q is not an absolute path", path)
		}
	}
}

// bundleEndpoint serves the trust bundle (SPIFFE_Trust_Domain_and_Bundle §5). nil is
// one that was not asked for.
type bundleEndpoint struct {
	http     *http.Server
	listener net.Listener
}

// maxBundleReaders bounds open connections. Readers come once in minutes; who is
// above it waits.
const maxBundleReaders = 256

// openBundleEndpoint listens where the configuration says.
func (s *server) openBundleEndpoint() (*bundleEndpoint, error) {
	c := s.config.BundleEndpoint
	if c.Listen == "" {
		return nil, nil
	}
	certificate := s.serving.Certificate
	if c.CertFile != "" {
		files := &certificateFiles{cert: c.CertFile, key: c.KeyFile, policy: s.authority.Policy(), now: s.app.now, log: s.log}
		_, _ = files.certificate() // an error is in the log, and the next handshake tries again
		certificate = files.certificate
	}
	config, err := s.tlsConfig([]string{"http/1.1"}, fips.NoClientCert, certificate)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("bundleEndpoint.listen: %w", err)
	}
	return &bundleEndpoint{listener: newBoundedListener(listener, maxBundleReaders), http: &http.Server{
		Handler: trustbundle.NewHandler(s.authority.Bundle), TLSConfig: config,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}}, nil
}

func (e *bundleEndpoint) serve() error { return e.http.ServeTLS(e.listener, "", "") }

// close ends what is open, a reader asks again.
func (e *bundleEndpoint) close() error {
	if e == nil {
		return nil
	}
	return errors.Join(e.http.Close(), ignoreClosed(e.listener.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// certificateFiles presents a certificate that something else renews in its files.
type certificateFiles struct {
	cert, key string
	policy    fips.Policy
	now       func() time.Time
	log       *slog.Logger

	mu     sync.Mutex // handshakes of the endpoint, and nothing else, wait for it
	loaded *tls.Certificate
	seen   [2]fileStamp // of what was tried last
}

type fileStamp struct {
	changed time.Time
	size    int64
}

// certificate is what the files hold. They are read when they have changed; what was
// loaded stays in use while they hold no pair.
func (f *certificateFiles) certificate() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.stamps()
	if err == nil && now == f.seen && f.loaded != nil {
		return f.loaded, nil
	}
	isNews := err != nil || now != f.seen
	if err == nil {
		f.seen = now
		var fresh *tls.Certificate
		if fresh, err = f.load(); err == nil {
			f.loaded = fresh
		}
	}
	if err != nil && isNews {
		f.log.Warn("the bundle endpoint's certificate was not read", "error", err, "has_older", f.loaded != nil)
	}
	if f.loaded == nil {
		return nil, err
	}
	return f.loaded, nil
}

func (f *certificateFiles) stamps() (stamps [2]fileStamp, err error) {
	for i, path := range []string{f.cert, f.key} {
		var info fs.FileInfo
		if info, err = os.Stat(path); err != nil {
			return stamps, err
		}
		stamps[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}

// maxPEM bounds what is read of either file.
const maxPEM = 256 << 10

func (f *certificateFiles) load() (*tls.Certificate, error) {
	chain, err := readPublicFile(f.cert)
	if err != nil {
		return nil, err
	}
	key, err := secretfile.ReadMounted(f.key, maxPEM)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s and %s: %w", f.cert, f.key, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.cert, err)
		}
	}
	if d := f.policy.CheckKey(pair.Leaf.PublicKey, fips.UseLeaf, f.now()); !d.Allow {
		return nil, fmt.Errorf("the key of %s: %s: %s", f.cert, d.Code, d.Detail)
	}
	return &pair, nil
}

func readPublicFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxPEM {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, maxPEM)
	}
	return os.ReadFile(path)
}

// boundedListener accepts while there are free places.
type boundedListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newBoundedListener(l net.Listener, places int) *boundedListener {
	return &boundedListener{Listener: l, places: make(chan struct{}, places), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placedConn{Conn: conn, free: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener.
func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// placedConn gives its place back when it is closed.
type placedConn struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (c *placedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
