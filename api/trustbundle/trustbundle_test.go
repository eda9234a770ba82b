package trustbundle_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/trustbundle"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

// jwk is read apart from the code that writes it.
type jwk struct {
	Use, Kty, Crv, X, Y, N, E string
	X5c                       []string
}

type document struct {
	Keys     []jwk
	Sequence *uint64 `json:"spiffe_sequence"`
	Refresh  *int    `json:"spiffe_refresh_hint"`
}

func parse(t *testing.T, raw []byte) document {
	t.Helper()
	var d document
	require.NoError(t, json.Unmarshal(raw, &d))
	return d
}

func number(t *testing.T, s string) *big.Int {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(s)
	require.NoError(t, err)
	return new(big.Int).SetBytes(raw)
}

// requireKey holds a JSON Web Key to the anchor that it is of.
func requireKey(t *testing.T, anchor *x509.Certificate, k jwk) {
	t.Helper()
	require.Equal(t, "x509-svid", k.Use)
	require.Equal(t, []string{base64.StdEncoding.EncodeToString(anchor.Raw)}, k.X5c)
	switch pub := anchor.PublicKey.(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		require.NoError(t, err)
		x, y := number(t, k.X), number(t, k.Y)
		size := (len(point) - 1) / 2
		require.Equal(t, point[1:], append(x.FillBytes(make([]byte, size)), y.FillBytes(make([]byte, size))...))
		require.Len(t, k.X, base64.RawURLEncoding.EncodedLen(size), "RFC 7518 §6.2.1.2: of full length")
		require.Equal(t, [3]string{"EC", pub.Curve.Params().Name, ""}, [3]string{k.Kty, k.Crv, k.N})
	case *rsa.PublicKey:
		require.Equal(t, pub.N, number(t, k.N))
		require.EqualValues(t, pub.E, number(t, k.E).Int64())
		require.Equal(t, [2]string{"RSA", ""}, [2]string{k.Kty, k.Crv})
	default:
		require.Fail(t, "another type of key")
	}
}

func TestEveryAnchorIsAKeyWithItsCertificate(t *testing.T) {
	for _, kind := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(kind), func(t *testing.T) {
			b := catest.NewWithKeys(t, kind).Bundle
			spiffe, err := trustbundle.SPIFFE(b)
			require.NoError(t, err)
			got := parse(t, spiffe)
			require.EqualValues(t, 1, *got.Sequence)
			require.Equal(t, 300, *got.Refresh)
			jwks, err := trustbundle.JWKS(b)
			require.NoError(t, err)
			plain := parse(t, jwks)
			require.Nil(t, plain.Sequence)
			require.Nil(t, plain.Refresh)
			require.Equal(t, got.Keys, plain.Keys)
			require.Len(t, got.Keys, 2, "what signs and what will")
			for i, a := range b.Anchors() {
				requireKey(t, a.Certificate, got.Keys[i])
			}
		})
	}
}

func TestOneBundleHasOneEncoding(t *testing.T) {
	b := catest.New(t).Bundle
	anchors := b.Anchors()
	anchors[0], anchors[1] = anchors[1], anchors[0]
	again, err := ca.NewBundle(b.TrustDomain(), b.Sequence(), anchors)
	require.NoError(t, err)
	first, err := trustbundle.SPIFFE(b)
	require.NoError(t, err)
	second, err := trustbundle.SPIFFE(again)
	require.NoError(t, err)
	require.Equal(t, string(first), string(second))
}

func TestTheBundleInForceIsServed(t *testing.T) {
	c := catest.New(t)
	var current *ca.Bundle
	h := trustbundle.NewHandler(func() *ca.Bundle { return current })
	get := func(method, path, etag string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		if etag != "" {
			r.Header.Set("If-None-Match", etag)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	none := get(http.MethodGet, "/", "")
	require.Equal(t, http.StatusServiceUnavailable, none.Code, "there is none yet")
	require.Equal(t, "10", none.Header().Get("Retry-After"))

	current = c.Bundle
	want, err := trustbundle.SPIFFE(c.Bundle)
	require.NoError(t, err)
	first := get(http.MethodGet, "/", "")
	require.Equal(t, http.StatusOK, first.Code)
	require.Equal(t, string(want), first.Body.String())
	require.Equal(t, "application/json", first.Header().Get("Content-Type"))
	require.Equal(t, "no-cache", first.Header().Get("Cache-Control"))
	pem := get(http.MethodGet, "/bundle.pem", "")
	require.Equal(t, string(c.Bundle.PEM()), pem.Body.String())
	require.Equal(t, "application/pem-certificate-chain", pem.Header().Get("Content-Type"))
	etag := first.Header().Get("ETag")
	require.NotEqual(t, etag, pem.Header().Get("ETag"))

	same := get(http.MethodGet, "/", etag)
	require.Equal(t, http.StatusNotModified, same.Code)
	require.Empty(t, same.Body.String())
	require.Equal(t, http.StatusOK, get(http.MethodHead, "/", "").Code)

	current, err = ca.NewBundle(c.Domain, 2, c.Bundle.Anchors())
	require.NoError(t, err)
	changed := get(http.MethodGet, "/", etag)
	require.Equal(t, http.StatusOK, changed.Code, "the sequence alone is a change")
	require.EqualValues(t, 2, *parse(t, changed.Body.Bytes()).Sequence)
	require.Equal(t, http.StatusNotModified, get(http.MethodGet, "/bundle.pem", pem.Header().Get("ETag")).Code, "the anchors are the same")
}

func TestNothingElseIsServed(t *testing.T) {
	c := catest.New(t)
	h := trustbundle.NewHandler(func() *ca.Bundle { return c.Bundle })
	for request, want := range map[[2]string]int{
		{http.MethodGet, "/other"}:         http.StatusNotFound,
		{http.MethodGet, "/bundle.pem/"}:   http.StatusNotFound,
		{http.MethodPost, "/"}:             http.StatusMethodNotAllowed,
		{http.MethodDelete, "/bundle.pem"}: http.StatusMethodNotAllowed,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), request[0], request[1], nil))
		require.Equal(t, want, w.Code, "%s %s", request[0], request[1])
	}
}
