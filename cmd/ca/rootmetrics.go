package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-ca/kedge/ca/vault"
)

// vaultMetrics count what is asked of Vault. The session is read at each scrape,
// so that no gauge can be stale.
type vaultMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	status   func() vault.Status

	loggedIn, tokenEnd *prometheus.Desc
}

// vaultBuckets reach from a fast signature to the timeout of a request.
var vaultBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func newVaultMetrics() *vaultMetrics {
	return &vaultMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kedge_vault_requests_total", Help: "Requests to Vault, by operation and result (docs/errors.md).",
		}, []string{"operation", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kedge_vault_request_seconds", Help: "Time of a request to Vault.", Buckets: vaultBuckets,
		}, []string{"operation"}),
		loggedIn: prometheus.NewDesc("kedge_vault_logged_in", "1 while there is a token.", nil, nil),
		tokenEnd: prometheus.NewDesc("kedge_vault_token_not_after_timestamp_seconds", "End of the token in use; absent without one, or when it never ends.", nil, nil),
	}
}

func (m *vaultMetrics) observe(o vault.Observation) {
	result := string(o.Reason)
	if o.Reason == vault.OK {
		result = "ok"
	}
	m.requests.WithLabelValues(o.Operation, result).Inc()
	if o.Took > 0 { // the renewals of a token are not timed
		m.seconds.WithLabelValues(o.Operation).Observe(o.Took.Seconds())
	}
}

// Describe implements prometheus.Collector.
func (m *vaultMetrics) Describe(ch chan<- *prometheus.Desc) {
	m.requests.Describe(ch)
	m.seconds.Describe(ch)
	ch <- m.loggedIn
	ch <- m.tokenEnd
}

// Collect implements prometheus.Collector.
func (m *vaultMetrics) Collect(ch chan<- prometheus.Metric) {
	m.requests.Collect(ch)
	m.seconds.Collect(ch)
	s, loggedIn := m.status(), 0.0
	if s.LoggedIn {
		loggedIn = 1
	}
	ch <- prometheus.MustNewConstMetric(m.loggedIn, prometheus.GaugeValue, loggedIn)
	if !s.TokenEnd.IsZero() {
		ch <- prometheus.MustNewConstMetric(m.tokenEnd, prometheus.GaugeValue, float64(s.TokenEnd.Unix()))
	}
}
