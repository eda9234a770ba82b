package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-ca/kedge/ca"
)

// Metrics are the counters of the front. Names carry the unit; ends of
// certificates are timestamps, so that a rule needs no clock of ours.
type Metrics struct {
	issuedTotal  *prometheus.CounterVec
	refusedTotal *prometheus.CounterVec
	stage        *prometheus.HistogramVec
	handshakes   *prometheus.CounterVec
	shaking      prometheus.Gauge
	connections  prometheus.Gauge
	panics       prometheus.Counter
	watchers     prometheus.Gauge

	stageAuthn, stageParse, stageSign prometheus.Observer
}

// latencyBuckets reach from a tenth of a millisecond to the request deadline.
var latencyBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// NewMetrics makes the counters and registers them.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		issuedTotal: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kedge_issued_total", Help: "Certificates issued.",
		}, []string{"profile", "method", "protocol"}),
		refusedTotal: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kedge_refused_total", Help: "Requests refused, by reason (docs/errors.md).",
		}, []string{"reason", "protocol"}),
		stage: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kedge_stage_seconds", Help: "Time of a request in each stage; sign includes policy and the durable record.", Buckets: latencyBuckets,
		}, []string{"stage"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kedge_handshakes_total", Help: "TLS handshakes by result.",
		}, []string{"result"}),
		shaking:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "kedge_handshakes_in_progress", Help: "TLS handshakes going on."}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kedge_connections", Help: "Open connections on the TLS ports."}),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Name: "kedge_panics_total", Help: "Requests and handshakes that ended in a panic; always a defect."}),
		watchers:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "kedge_bundle_watchers", Help: "Open bundle streams."}),
	}
	m.stageAuthn, m.stageParse, m.stageSign = m.stage.WithLabelValues("authn"), m.stage.WithLabelValues("parse"), m.stage.WithLabelValues("sign")
	for _, c := range []prometheus.Collector{m.issuedTotal, m.refusedTotal, m.stage, m.handshakes, m.shaking, m.connections, m.panics, m.watchers} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) issued(profile string, method ca.Method, p Protocol) {
	m.issuedTotal.WithLabelValues(profile, string(method), string(p)).Inc()
}

func (m *Metrics) refused(r ca.Reason, p Protocol) {
	m.refusedTotal.WithLabelValues(string(r), string(p)).Inc()
}

// AuthorityState is what a scrape reads of the authority.
type AuthorityState struct {
	Bundle       *ca.Bundle       // may be nil
	Intermediate *ca.Intermediate // may be nil
	Ready        bool
	RenewalFails bool // the last attempt to renew the intermediate
	FIPSOK       bool
	FIPSModule   string
	LiveKeys     int
	ServerEnd    time.Time // end of the server's own certificate
	InGate       int64
	KeyRefresh   map[string]time.Time // last success by key source
	Outstanding  ca.Outstanding
}

// authorityCollector reads the state at each scrape, so that no gauge can be stale.
type authorityCollector struct {
	state func() AuthorityState
}

// NewAuthorityCollector exports what state returns.
func NewAuthorityCollector(state func() AuthorityState) prometheus.Collector {
	return &authorityCollector{state: state}
}

var (
	descNotAfter  = prometheus.NewDesc("kedge_certificate_not_after_timestamp_seconds", "End of a CA certificate or of the server's own.", []string{"role", "id"}, nil)
	descNotBefore = prometheus.NewDesc("kedge_certificate_not_before_timestamp_seconds", "Begin of a CA certificate.", []string{"role", "id"}, nil)
	descBundle    = prometheus.NewDesc("kedge_bundle_sequence", "Sequence of the bundle in force.", nil, nil)
	descRenewal   = prometheus.NewDesc("kedge_renewal_failing", "1 when the last attempt to renew the intermediate failed.", nil, nil)
	descReady     = prometheus.NewDesc("kedge_ready", "1 when certificates can be issued.", nil, nil)
	descFIPS      = prometheus.NewDesc("kedge_fips_state", "1 for the state that the cryptographic module is in.", []string{"state", "module"}, nil)
	descLiveKeys  = prometheus.NewDesc("kedge_live_keys", "Keys with a live certificate.", nil, nil)
	descInGate    = prometheus.NewDesc("kedge_requests_in_progress", "Requests for certificates at work.", nil, nil)
	descKeys      = prometheus.NewDesc("kedge_jwks_last_refresh_timestamp_seconds", "Last time that the keys of a token issuer were read.", []string{"issuer"}, nil)
)

// Describe implements prometheus.Collector.
func (c *authorityCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descNotAfter, descNotBefore, descBundle, descReady, descRenewal, descFIPS, descLiveKeys, descInGate, descKeys} {
		ch <- d
	}
	for _, d := range evidenceDescs() {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *authorityCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.state()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if s.Bundle != nil {
		gauge(descBundle, float64(s.Bundle.Sequence()))
		for _, a := range s.Bundle.Anchors() {
			role, id := "anchor-"+string(a.Slot), ca.AnchorIDOf(a.Certificate).String()
			gauge(descNotAfter, seconds(a.Certificate.NotAfter), role, id)
			gauge(descNotBefore, seconds(a.Certificate.NotBefore), role, id)
		}
	}
	if i := s.Intermediate; i != nil {
		gauge(descNotAfter, seconds(i.NotAfter()), "intermediate", i.KeyID())
		gauge(descNotBefore, seconds(i.Certificate().NotBefore), "intermediate", i.KeyID())
	}
	if !s.ServerEnd.IsZero() {
		gauge(descNotAfter, seconds(s.ServerEnd), "server", "server")
	}
	gauge(descReady, one(s.Ready))
	gauge(descRenewal, one(s.RenewalFails))
	gauge(descFIPS, one(s.FIPSOK), "approved", s.FIPSModule)
	gauge(descFIPS, one(!s.FIPSOK), "error", s.FIPSModule)
	gauge(descLiveKeys, float64(s.LiveKeys))
	gauge(descInGate, float64(s.InGate))
	for issuer, at := range s.KeyRefresh {
		gauge(descKeys, seconds(at), issuer)
	}
	collectEvidence(s.Outstanding, gauge)
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
