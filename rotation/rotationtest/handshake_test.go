package rotationtest

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHandshakeFailsWhereEitherSideIsNotContent: each of what the fault suite may meet
// must show in a handshake, whoever of the two minds.
func TestHandshakeFailsWhereEitherSideIsNotContent(t *testing.T) {
	w := New(t, Config{Zones: 1, Seed: 8})
	from, to := w.Workloads[0], w.Workloads[1]
	require.True(t, w.ready(from) && w.ready(to))
	require.NoError(t, shakeHands(from.peer.client, to.peer.server))
	for name, c := range map[string]struct {
		spoil func()
		says  string
	}{
		"the client lacks the anchor": {func() { from.trusted = x509.NewCertPool() }, "unknown authority"},
		"the server lacks the anchor": {func() { to.trusted = x509.NewCertPool() }, "unknown authority"},
		"the client's clock is ahead": {func() { from.Skew = LeafTTL + time.Minute }, "expired"},
		"the server's clock is ahead": {func() { to.Skew = LeafTTL + time.Minute }, "expired"},
		"the server has no chain":     {func() { to.shown = alone(to.shown) }, "unknown authority"},
		"the client has no chain":     {func() { from.shown = alone(from.shown) }, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			before := [2]Workload{*from, *to}
			defer func() { *from, *to = before[0], before[1] }()
			c.spoil()
			require.ErrorContains(t, shakeHands(from.peer.client, to.peer.server), c.says)
		})
	}
}

// alone is a certificate without those above it.
func alone(c *tls.Certificate) *tls.Certificate {
	return &tls.Certificate{Certificate: c.Certificate[:1], PrivateKey: c.PrivateKey}
}
