package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// TestEveryZoneMetricIsDocumented holds docs/metrics.md to what is exported, both ways.
func TestEveryZoneMetricIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	described := make(chan *prometheus.Desc, 16)
	newZoneMetrics(nil).Describe(described)
	close(described)
	var got []string
	for d := range described {
		got = append(got, regexp.MustCompile(`fqName: "([a-z_]+)"`).FindStringSubmatch(d.String())[1])
	}
	slices.Sort(got)
	var documented []string
	for _, row := range documentedMetrics(t, string(doc), "Zones") {
		name, _, _ := strings.Cut(row, " ")
		documented = append(documented, name)
	}
	require.Equal(t, documented, got)
}
