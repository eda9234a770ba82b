package authn_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// tlsSite is a real web server with a certificate of its own for 127.0.0.1.
func tlsSite(t *testing.T, handler http.HandlerFunc) (url, caFile string) {
	t.Helper()
	key := catest.GenerateKey(t, fips.ECDSAP256)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	config, err := fips.ServerTLS(fips.ServerTLSConfig{Certificate: func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
	}})
	require.NoError(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return "https://" + listener.Addr().String() + "/openid/v1/jwks", caFile
}

func fileWith(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

func TestKeysAreFetchedOverTLSWithABearerToken(t *testing.T) {
	issuer := authntest.NewIssuer(t, fips.ECDSAP256)
	url, caFile := tlsSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/openid/v1/jwks" || r.Header.Get("Authorization") != "Bearer our-own-token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write(issuer.JWKS(t))
	})
	w := newWorld(t, fips.ECDSAP256)
	w.useSource(t, authn.KeySource{URL: url, CAFile: caFile, TokenFile: fileWith(t, "our-own-token\n")})
	_, err := w.authenticate(issuer.Token(t, w.web()), "")
	require.NoError(t, err)
}

func (w *world) useSource(t *testing.T, keys authn.KeySource) {
	t.Helper()
	cluster := w.east.Cluster(t, "east")
	cluster.JWKS = keys
	w.auth = newAuthenticator(t, authn.Config{TrustDomain: domain(t), Now: w.clock.Now, Kubernetes: []authn.KubernetesConfig{cluster}})
}

// TestFetchRefusals is an issuer's site gone wrong or taken over: whatever it
// does, keys come only from a plain answer of the configured place.
func TestFetchRefusals(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	keys := w.east.JWKS(t)
	elsewhere, elsewhereCA := tlsSite(t, func(r http.ResponseWriter, _ *http.Request) {
		t.Error("it was asked")
		_, _ = r.Write(keys)
	})
	anchors, err := os.ReadFile(elsewhereCA)
	require.NoError(t, err)
	for _, row := range []struct {
		name, says string
		handler    http.HandlerFunc
	}{
		{"a redirect", "answers 302", func(r http.ResponseWriter, q *http.Request) { http.Redirect(r, q, elsewhere, http.StatusFound) }},
		{"an error with a set in it", "answers 503", func(r http.ResponseWriter, _ *http.Request) {
			r.WriteHeader(http.StatusServiceUnavailable)
			_, _ = r.Write(keys)
		}},
		{"a web page", "not valid JSON", func(r http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(r, "<html>ok</html>") }},
		{"more than 1 MiB", "larger than", func(r http.ResponseWriter, _ *http.Request) {
			_, _ = r.Write(bytes.Repeat([]byte(" "), 1<<20))
			_, _ = r.Write(keys)
		}},
		{"an end without a warning", "EOF", func(r http.ResponseWriter, _ *http.Request) {
			r.Header().Set("Content-Length", "100000")
			_, _ = r.Write(keys)
		}},
		{"no content", "answers 204", func(r http.ResponseWriter, _ *http.Request) { r.WriteHeader(http.StatusNoContent) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			url, caFile := tlsSite(t, row.handler)
			own, err := os.ReadFile(caFile)
			require.NoError(t, err)
			w.useSource(t, authn.KeySource{URL: url, CAFile: fileWith(t, string(own)+string(anchors))})
			caller, err := w.authenticate(w.east.Token(t, w.web()), "")
			refused(t, ca.ReasonKeysUnavailable, caller, err)
			require.ErrorContains(t, err, row.says)
		})
	}
}

func TestFetchNeedsTheConfiguredAnchors(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	site := func(r http.ResponseWriter, _ *http.Request) { _, _ = r.Write(w.east.JWKS(t)) }
	url, _ := tlsSite(t, site)
	_, otherCA := tlsSite(t, site)
	for name, keys := range map[string]authn.KeySource{
		"another anchor":      {URL: url, CAFile: otherCA},
		"no anchor":           {URL: url, CAFile: fileWith(t, "")},
		"no file":             {URL: url, CAFile: filepath.Join(t.TempDir(), "none")},
		"a token file absent": {URL: url, CAFile: otherCA, TokenFile: filepath.Join(t.TempDir(), "none")},
	} {
		t.Run(name, func(t *testing.T) {
			w.useSource(t, keys)
			caller, err := w.authenticate(w.east.Token(t, w.web()), "")
			refused(t, ca.ReasonKeysUnavailable, caller, err)
		})
	}
}

func TestFileIsReadAgainWhenItChanges(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	next := authntest.NewIssuer(t, fips.ECDSAP256)
	path := filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(path, w.east.JWKS(t), 0o600))
	w.useSource(t, authn.KeySource{File: path, Refresh: time.Hour})
	try := func(i *authntest.Issuer) error {
		_, err := w.authenticate(i.Token(t, w.web()), "")
		return err
	}
	require.NoError(t, try(w.east))

	require.NoError(t, os.WriteFile(path, next.JWKS(t)[:20], 0o600))
	require.Error(t, w.auth.Reload(t.Context()), "half a file")
	require.NoError(t, try(w.east))
	require.Error(t, w.auth.Reload(t.Context()), "still half a file, though it did not change")

	require.NoError(t, os.WriteFile(path, next.JWKS(t), 0o600))
	require.NoError(t, w.auth.Reload(t.Context()))
	require.NoError(t, try(next))
	require.Equal(t, ca.ReasonTokenKeyUnknown, ca.ReasonOf(try(w.east)))

	// A ConfigMap's file is a symbolic link that is swapped.
	other := fileWith(t, string(w.east.JWKS(t)))
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink(other, path))
	w.clock.Advance(10 * time.Second)
	require.NoError(t, try(w.east), "an unknown key looks at the file again")

	require.NoError(t, os.Remove(path))
	require.Error(t, w.auth.Reload(t.Context()))
	require.NoError(t, try(w.east), "the last good keys stay")
}

func TestFileMustBeUsableAtTheStart(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for _, row := range []struct{ name, path, says string }{
		{"absent", filepath.Join(t.TempDir(), "none"), "no such file"},
		{"a directory", t.TempDir(), "not a regular file"},
		{"a FIFO", fifo, "not a regular file"},
		{"empty", fileWith(t, ""), "not valid JSON"},
		{"not a set", fileWith(t, `{"key":[]}`), `no member "keys"`},
		{"keys twice", fileWith(t, `{"keys":[],"keys":[]}`), "twice"},
		{"larger than 1 MiB", fileWith(t, `{"keys":[]}`+strings.Repeat(" ", 1<<20)), "larger than"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := authn.New(authn.Config{TrustDomain: domain(t), Now: time.Now, Kubernetes: []authn.KubernetesConfig{{
				Cluster: "east", Issuer: "i", Audiences: []string{"a"}, JWKS: authn.KeySource{File: row.path},
			}}})
			require.ErrorContains(t, err, row.says)
			require.ErrorContains(t, err, `cluster "east"`)
		})
	}
}
