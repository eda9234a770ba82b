package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/trustbundle"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

// runSite runs the server of place in this process until the test ends.
func runSite(t *testing.T, place site) *server {
	t.Helper()
	cfg, err := loadConfig(place.path)
	require.NoError(t, err)
	a, log := at(time.Now()), slog.New(slog.DiscardHandler)
	i, err := a.openInstance(cfg, fipstest.Start(t, "fips"), log)
	require.NoError(t, err)
	ready, ended := make(chan struct{}), make(chan error, 1)
	s := &server{instance: i, app: a, log: log, started: a.now(), options: serveOptions{
		ready: func(context.Context, *server) error { close(ready); return nil },
	}}
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- s.run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
		require.NoError(t, i.close())
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		require.Fail(t, "it did not start", err)
	}
	return s
}

func readEndpoint(t *testing.T, s *server, roots *x509.CertPool, path string) (*http.Response, string) {
	t.Helper()
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: roots, ServerName: "127.0.0.1"})
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("https://" + s.endpoint.listener.Addr().String() + path)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

func TestTheBundleEndpointServesTheBundleInForce(t *testing.T) {
	place := makeSite(t, at(time.Now()))
	place.edit(t, "ops: {", "bundleEndpoint: {listen: \"127.0.0.1:0\"}\nops: {")
	s := runSite(t, place)
	want, err := trustbundle.SPIFFE(s.authority.Bundle())
	require.NoError(t, err)
	resp, body := readEndpoint(t, s, s.authority.Bundle().Pool(), "/")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, string(want), body)
	_, body = readEndpoint(t, s, s.authority.Bundle().Pool(), "/bundle.pem")
	require.Equal(t, string(s.authority.Bundle().PEM()), body)

	status, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "bundle", status.GetListeners()[3].GetName())
}

// TestTheBundleEndpointPresentsTheCertificateOfItsFiles: https_web is for readers that
// have none of our anchors yet.
func TestTheBundleEndpointPresentsTheCertificateOfItsFiles(t *testing.T) {
	place := makeSite(t, at(time.Now()))
	web := newWebCertificates(t)
	web.issue(t)
	place.edit(t, "ops: {", "bundleEndpoint: {listen: \"127.0.0.1:0\", certFile: "+web.cert+", keyFile: "+web.key+"}\nops: {")
	s := runSite(t, place)
	resp, _ := readEndpoint(t, s, web.roots, "/")
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// webCertificates is an authority of the web, another site's here, and files that it
// renews.
type webCertificates struct {
	serving   *servingCertificate
	roots     *x509.CertPool
	cert, key string
}

func newWebCertificates(t *testing.T) webCertificates {
	t.Helper()
	dir, other := t.TempDir(), newServer(t, makeSite(t, at(time.Now())))
	return webCertificates{
		serving: other.serving, roots: other.authority.Bundle().Pool(),
		cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"),
	}
}

// issue puts a new pair in the place of the old one, and returns its serial.
func (w webCertificates) issue(t *testing.T) string {
	t.Helper()
	require.NoError(t, w.serving.renew(t.Context()))
	made := w.serving.current.Load()
	var chain strings.Builder
	for _, der := range made.certificate.Certificate {
		require.NoError(t, pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	key, err := x509.MarshalPKCS8PrivateKey(made.certificate.PrivateKey)
	require.NoError(t, err)
	require.NoError(t, replaceFile(w.cert, []byte(chain.String()), 0o644))
	require.NoError(t, replaceFile(w.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	return made.leaf.SerialNumber.String()
}

func TestCertificateFilesAreReadWhenTheyChange(t *testing.T) {
	web := newWebCertificates(t)
	var log strings.Builder
	files := &certificateFiles{
		cert: web.cert, key: web.key, policy: web.serving.authority.Policy(), now: time.Now,
		log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	serial := func() string {
		t.Helper()
		pair, err := files.certificate()
		require.NoError(t, err)
		return pair.Leaf.SerialNumber.String()
	}
	_, err := files.certificate()
	require.ErrorIs(t, err, os.ErrNotExist)

	first := web.issue(t)
	require.Equal(t, first, serial())
	second := web.issue(t)
	require.NotEqual(t, first, second)
	require.Equal(t, second, serial())

	log.Reset()
	require.NoError(t, os.WriteFile(web.key, []byte("half of a ke"), 0o600))
	for range 3 {
		require.Equal(t, second, serial(), "what was loaded stays")
	}
	require.Equal(t, 1, strings.Count(log.String(), "was not read"), "one line for one change")
	require.NoError(t, os.Remove(web.cert))
	require.Equal(t, second, serial())
	third := web.issue(t)
	require.Equal(t, third, serial())
	require.NoError(t, os.Chmod(web.key, 0o644))
	fresh := &certificateFiles{cert: web.cert, key: web.key, policy: files.policy, now: time.Now, log: files.log}
	_, err = fresh.certificate()
	require.Error(t, err, "a key that all can read")
}

func TestABundleEndpointThatCannotWorkIsRefused(t *testing.T) {
	for section, want := range map[string]string{
		`{certFile: /a, keyFile: /b}`:                       "bundleEndpoint.listen",
		`{listen: "127.0.0.1"}`:                             "bundleEndpoint.listen",
		`{listen: "127.0.0.1:1", certFile: /a}`:             "certFile and keyFile go together",
		`{listen: "127.0.0.1:1", certFile: a, keyFile: /b}`: "bundleEndpoint.certFile",
		`{listen: "127.0.0.1:1", certFile: /a, keyFile: b}`: "bundleEndpoint.keyFile",
		`{listen: "127.0.0.1:1", profile: https_spiffe}`:    "unknown field",
	} {
		_, err := parseConfig("ca.yaml", []byte("trustDomain: example.org\nroot: {passphrase: {env: A}}\nkeys: {passphrase: {env: B}}\nbundleEndpoint: "+section+"\n"))
		require.ErrorContains(t, err, want, section)
	}
}

func TestABoundedListenerWaitsForAPlace(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := newBoundedListener(inner, 1)
	accepted := make(chan net.Conn)
	failed := make(chan error, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				failed <- err
				return
			}
			accepted <- conn
		}
	}()
	dial := func() {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
	dial()
	dial()
	first := <-accepted
	require.Equal(t, 1, len(l.places), "the second has none")
	require.NoError(t, first.Close())
	require.Error(t, first.Close(), "twice, and its place is free once")
	<-accepted
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-failed, net.ErrClosed)
	require.Error(t, l.Close())
}
