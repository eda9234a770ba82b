package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/ca"
)

func TestOpsSaysAReasonAndNothingElse(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := api.NewMetrics(registry)
	require.NoError(t, err)
	var notReady error
	ops := api.NewOps(registry, func() error { return notReady })
	get := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		ops.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	rows := []struct {
		method, path string
		err          error
		code         int
		body         string
	}{
		{http.MethodGet, "/healthz", nil, 200, "ok\n"},
		{http.MethodGet, "/readyz", nil, 200, "ok\n"},
		{http.MethodGet, "/readyz", ca.Refuse(ca.ReasonAuthorityExpired, secret), 503, "authority_expired\n"},
		{http.MethodGet, "/healthz", ca.Refuse(ca.ReasonAuthorityExpired, secret), 200, "ok\n"},
		{http.MethodHead, "/healthz", nil, 200, "ok\n"},
	}
	for _, row := range rows {
		notReady = row.err
		code, body := get(row.method, row.path)
		require.Equal(t, row.code, code, "%+v", row)
		require.Equal(t, row.body, body, "%+v", row)
	}
	code, body := get(http.MethodGet, "/metrics")
	require.Equal(t, 200, code)
	require.Contains(t, body, "kedge_panics_total 0")
}

// TestOpsChangesNothing: no method but reading, no path but the three.
func TestOpsChangesNothing(t *testing.T) {
	ops := api.NewOps(prometheus.NewRegistry(), func() error { return nil })
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			w := httptest.NewRecorder()
			ops.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			require.Equal(t, http.StatusMethodNotAllowed, w.Code, "%s %s", method, path)
		}
	}
	for _, path := range []string{"/", "/debug/pprof/", "/reload", "/-/reload", "/metrics/x"} {
		w := httptest.NewRecorder()
		ops.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusNotFound, w.Code, path)
	}
}
