package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// zoneMetrics is what a scrape reads of this process's place among the zones. Nothing
// is kept between scrapes, so that no gauge can be stale.
type zoneMetrics struct {
	server *server

	contact, epoch, zoneContact, zoneBundle *prometheus.Desc
}

func newZoneMetrics(s *server) *zoneMetrics {
	each := []string{"zone", "replica"}
	return &zoneMetrics{
		server:      s,
		contact:     prometheus.NewDesc("kedge_primary_last_contact_timestamp_seconds", "When the primary answered this replica last; absent when it did not since the start.", nil, nil),
		epoch:       prometheus.NewDesc("kedge_command_epoch", "Number of the last command that this replica holds; 0 before the first.", nil, nil),
		zoneContact: prometheus.NewDesc("kedge_zone_last_contact_timestamp_seconds", "When a replica was heard of last; 0 when it never was. At the primary.", each, nil),
		zoneBundle:  prometheus.NewDesc("kedge_zone_bundle_sequence", "Sequence of the bundle that a replica says it holds. At the primary.", each, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *zoneMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.contact, m.epoch, m.zoneContact, m.zoneBundle} {
		ch <- d
	}
}

// scrapePatience bounds what a scrape asks of the store.
const scrapePatience = 5 * time.Second

// Collect implements prometheus.Collector. What cannot be read is left out.
func (m *zoneMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if last, _ := m.server.following.contact.state(); !last.IsZero() {
		gauge(m.contact, unixSeconds(last))
	}
	if held, err := m.server.custodian.Held(ctx); err == nil {
		gauge(m.epoch, float64(held.Command.Epoch))
	}
	if m.server.following.leading == nil {
		return
	}
	status, err := m.server.following.leading.Status(ctx)
	if err != nil {
		return
	}
	for _, z := range status.Zones {
		for _, r := range z.Replicas {
			if !r.Removed.IsZero() {
				continue
			}
			gauge(m.zoneContact, unixSeconds(r.Report.Received), string(z.Name), r.Name)
			gauge(m.zoneBundle, float64(r.Report.Sequence), string(z.Name), r.Name)
		}
	}
}

// unixSeconds is t as Prometheus writes times, 0 for none.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
