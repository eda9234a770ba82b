package api_test

import (
	"context"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	"github.com/kedge-ca/kedge/api/apitest"
)

func withBearer(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// metric is the sample of a metric with exactly these labels, nil if there is none.
func metric(t *testing.T, s *apitest.Server, name string, labels map[string]string) *dto.Metric {
	t.Helper()
	families, err := s.Registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	samples:
		for _, m := range family.GetMetric() {
			if len(m.GetLabel()) != len(labels) {
				continue
			}
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] != l.GetValue() {
					continue samples
				}
			}
			return m
		}
	}
	return nil
}

// counter is the value of a counter, 0 if it never counted.
func counter(t *testing.T, s *apitest.Server, name string, labels ...string) float64 {
	t.Helper()
	set := make(map[string]string)
	for i := 0; i < len(labels); i += 2 {
		set[labels[i]] = labels[i+1]
	}
	return metric(t, s, name, set).GetCounter().GetValue()
}

// gauge is the value of a gauge without labels.
func gauge(t *testing.T, s *apitest.Server, name string) float64 {
	t.Helper()
	return metric(t, s, name, nil).GetGauge().GetValue()
}
