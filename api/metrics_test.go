package api_test

import (
	"bytes"
	"os"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

// goldenMetrics are the names, types and labels that dashboards and alerts are
// built on: a change here breaks somebody's alert.
var goldenMetrics = []string{
	"kedge_bundle_sequence gauge",
	"kedge_bundle_watchers gauge",
	"kedge_certificate_not_after_timestamp_seconds gauge id,role",
	"kedge_certificate_not_before_timestamp_seconds gauge id,role",
	"kedge_connections gauge",
	"kedge_coverage_behind gauge class",
	"kedge_coverage_live gauge class",
	"kedge_coverage_sequence gauge class",
	"kedge_fips_state gauge module,state",
	"kedge_handshakes_in_progress gauge",
	"kedge_handshakes_total counter result",
	"kedge_issued_total counter method,profile,protocol",
	"kedge_jwks_last_refresh_timestamp_seconds gauge issuer",
	"kedge_leaves_live gauge anchor",
	"kedge_leaves_not_after_timestamp_seconds gauge anchor",
	"kedge_live_keys gauge",
	"kedge_panics_total counter",
	"kedge_ready gauge",
	"kedge_refused_total counter protocol,reason",
	"kedge_renewal_failing gauge",
	"kedge_requests_in_progress gauge",
	"kedge_stage_seconds histogram stage",
}

// busyServer is a server that has issued and refused, with everything exported.
func busyServer(t *testing.T) (*apitest.Server, api.AuthorityState) {
	t.Helper()
	s := apitest.New(t, apitest.Options{})
	_, err := issue(t, s, s.As(t, "a"))
	require.NoError(t, err)
	_, err = issue(t, s, t.Context())
	require.Error(t, err)
	state := api.AuthorityState{
		Bundle: s.CA.Bundle, Intermediate: s.CA.Intermediate, Ready: true, FIPSOK: true, FIPSModule: "BoringCrypto",
		LiveKeys: 7, ServerEnd: catest.Start, InGate: 3, KeyRefresh: map[string]time.Time{"test": catest.Start},
		Outstanding: s.CA.Authority.Outstanding(time.Now()),
	}
	require.NoError(t, s.Registry.Register(api.NewAuthorityCollector(func() api.AuthorityState { return state })))
	return s, state
}

func TestMetricsAreTheGoldenOnes(t *testing.T) {
	s, _ := busyServer(t)
	families, err := s.Registry.Gather()
	require.NoError(t, err)
	var got []string
	for _, f := range families {
		got = append(got, describe(f))
	}
	require.Equal(t, goldenMetrics, got)
}

func describe(f *dto.MetricFamily) string {
	var labels []string
	for _, l := range f.GetMetric()[0].GetLabel() {
		labels = append(labels, l.GetName())
	}
	sort.Strings(labels)
	return strings.TrimSpace(f.GetName() + " " + strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, ","))
}

// TestEveryMetricIsDocumented holds docs/metrics.md to the golden list, both ways.
func TestEveryMetricIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	doc, _, _ = bytes.Cut(doc, []byte("\n## With Vault\n")) // package main of cmd/ca has those, and their test
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(kedge_[a-z_]+)` \\| (\\w+) \\| (.*?) \\| .+ \\|$").FindAllStringSubmatch(string(doc), -1) {
		labels := strings.ReplaceAll(strings.ReplaceAll(row[3], "`", ""), " ", "")
		documented = append(documented, strings.TrimSpace(row[1]+" "+row[2]+" "+labels))
	}
	require.Equal(t, goldenMetrics, documented)
}

func TestIssuesAndRefusalsAreCounted(t *testing.T) {
	s, _ := busyServer(t)
	require.EqualValues(t, 1, counter(t, s, "kedge_issued_total", "profile", "workload", "method", "kubernetes", "protocol", "kedge"))
	require.EqualValues(t, 1, counter(t, s, "kedge_refused_total", "reason", "credentials_missing", "protocol", "kedge"))
	require.EqualValues(t, 2, counter(t, s, "kedge_handshakes_total", "result", "ok"))
	for stage, calls := range map[string]uint64{"authn": 2, "parse": 1, "sign": 1} {
		m := metric(t, s, "kedge_stage_seconds", map[string]string{"stage": stage})
		require.Equal(t, calls, m.GetHistogram().GetSampleCount(), stage)
	}
}

func TestWhatIsOutstandingIsExported(t *testing.T) {
	s, state := busyServer(t)
	anchor := ca.AnchorIDOf(s.CA.Bundle.Active())
	value := func(name, label, of string) float64 {
		return metric(t, s, name, map[string]string{label: of}).GetGauge().GetValue()
	}
	require.EqualValues(t, 1, value("kedge_coverage_live", "class", "renewal"), "the server's own is no verifier's")
	require.EqualValues(t, 0, value("kedge_coverage_behind", "class", "renewal"))
	require.EqualValues(t, 1, value("kedge_coverage_sequence", "class", "renewal"))
	require.EqualValues(t, 2, value("kedge_leaves_live", "anchor", anchor.String()))
	require.EqualValues(t, state.Outstanding.HighWater[anchor].Unix(), value("kedge_leaves_not_after_timestamp_seconds", "anchor", anchor.String()))
}

func TestEndsOfCertificatesAreTimestamps(t *testing.T) {
	s, state := busyServer(t)
	end := func(role, id string) float64 {
		return metric(t, s, "kedge_certificate_not_after_timestamp_seconds", map[string]string{"role": role, "id": id}).GetGauge().GetValue()
	}
	for _, a := range state.Bundle.Anchors() {
		require.EqualValues(t, a.Certificate.NotAfter.Unix(), end("anchor-"+string(a.Slot), ca.AnchorIDOf(a.Certificate).String()))
	}
	require.EqualValues(t, state.Intermediate.NotAfter().Unix(), end("intermediate", state.Intermediate.KeyID()))
	require.EqualValues(t, catest.Start.Unix(), end("server", "server"))
	require.EqualValues(t, catest.Start.Unix(), metric(t, s, "kedge_jwks_last_refresh_timestamp_seconds", map[string]string{"issuer": "test"}).GetGauge().GetValue())
}

// TestAnAuthorityWithoutAnythingIsExported: a server that never had an
// intermediate is exactly the one that an alert must see.
func TestAnAuthorityWithoutAnythingIsExported(t *testing.T) {
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(api.NewAuthorityCollector(func() api.AuthorityState {
		return api.AuthorityState{FIPSModule: "BoringCrypto"}
	})))
	families, err := registry.Gather()
	require.NoError(t, err)
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			values[name] = m.GetGauge().GetValue()
		}
	}
	require.Equal(t, map[string]float64{
		"kedge_ready": 0, "kedge_renewal_failing": 0, "kedge_live_keys": 0, "kedge_requests_in_progress": 0,
		"kedge_fips_state BoringCrypto approved": 0, "kedge_fips_state BoringCrypto error": 1,
	}, values)
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := api.NewMetrics(registry)
	require.NoError(t, err)
	_, err = api.NewMetrics(registry)
	require.Error(t, err)
}
