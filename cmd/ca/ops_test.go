package main

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

// opsClient reads the metrics port; with verify it wants the certificate of the
// bundle's authority, without it is a kubelet's probe.
func opsClient(t *testing.T, s *server, verify bool) *http.Client {
	t.Helper()
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: s.authority.Bundle().Pool(), ServerName: "127.0.0.1"})
	require.NoError(t, err)
	config.InsecureSkipVerify = !verify
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 10 * time.Second}
}

// Health behind TLS is read when there is nothing to make a certificate with, or a
// probe would kill the server that its operator has to repair.
func TestHealthBehindTLSIsReadWhenEverythingHasExpired(t *testing.T) {
	place := makeSite(t, at(time.Now().AddDate(-11, 0, 0)))
	place.edit(t, `{listen: "127.0.0.1:0"}`, `{listen: "127.0.0.1:0", tls: true}`)
	cfg, err := loadConfig(place.path)
	require.NoError(t, err)
	a, log := at(time.Now()), slog.New(slog.DiscardHandler)
	i, err := a.openInstance(cfg, fipstest.Start(t, "fips"), log)
	require.NoError(t, err)
	t.Cleanup(func() { _ = i.close() })
	ready := make(chan struct{})
	s := &server{instance: i, app: a, log: log, started: a.now(), options: serveOptions{
		ready: func(context.Context, *server) error { close(ready); return nil },
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		require.Fail(t, "it did not start", err)
	}
	get := func(path string) (int, string, []*x509.Certificate) {
		resp, err := opsClient(t, s, false).Get("https://" + s.opsListener.Addr().String() + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body), resp.TLS.PeerCertificates
	}
	code, _, presented := get("/healthz")
	require.Equal(t, http.StatusOK, code)
	require.Len(t, presented, 1)
	require.Empty(t, presented[0].URIs)
	require.Empty(t, presented[0].DNSNames)
	require.Empty(t, presented[0].IPAddresses)
	code, body, _ := get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "authority_expired\n", body)
	url := "https://" + s.opsListener.Addr().String() + "/healthz"
	_, err = opsClient(t, s, true).Get(url)
	require.Error(t, err, "nobody who verifies takes it")
	_, err = opsClient(t, s, false).Get("https://" + s.tls.Addr().String() + "/healthz")
	require.ErrorContains(t, err, "tls:", "the TLS port does not present it")

	_, err = s.Repair(t.Context(), false)
	require.NoError(t, err)
	resp, err := opsClient(t, s, true).Get(url)
	require.NoError(t, err, "the server's own certificate, as soon as there is one")
	require.NoError(t, resp.Body.Close())
	stop()
	require.NoError(t, <-ended)
}
