package fips

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWorkloadsVerifyEachOther(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	own := a.peer(t, x509.ExtKeyUsageClientAuth)
	now := func() time.Time { return day("2026-11-24").Add(time.Hour) }
	rows := map[string]struct {
		change func(*WorkloadTLSConfig)
		server x509.ExtKeyUsage
		want   string
	}{
		"both of the trust domain": {func(*WorkloadTLSConfig) {}, x509.ExtKeyUsageServerAuth, ""},
		"anchors of others":        {func(c *WorkloadTLSConfig) { c.Roots = func() *x509.CertPool { return other.pool } }, x509.ExtKeyUsageServerAuth, "unknown authority"},
		"no anchors at all":        {func(c *WorkloadTLSConfig) { c.Roots = func() *x509.CertPool { return nil } }, x509.ExtKeyUsageServerAuth, "no anchors"},
		"a server of another use":  {func(*WorkloadTLSConfig) {}, x509.ExtKeyUsageClientAuth, "incompatible key usage"},
		"a server that has ended":  {func(c *WorkloadTLSConfig) { c.Now = func() time.Time { return day("2026-11-26") } }, x509.ExtKeyUsageServerAuth, "expired"},
		"a server nobody asked for": {func(c *WorkloadTLSConfig) {
			c.Accept = func(*x509.Certificate) error { return errors.New("not this one") }
		}, x509.ExtKeyUsageServerAuth, "not this one"},
		"anchors that have come new": {func(c *WorkloadTLSConfig) { c.Roots = func() *x509.CertPool { return a.pool } }, x509.ExtKeyUsageServerAuth, ""},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			accepted := ""
			c := WorkloadTLSConfig{
				Roots: func() *x509.CertPool { return a.pool }, Now: now,
				Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil },
				Accept: func(leaf *x509.Certificate) error {
					accepted = leaf.DNSNames[0]
					return nil
				},
			}
			row.change(&c)
			client, err := WorkloadClientTLS(c)
			require.NoError(t, err)
			server, err := ServerTLS(serverConfig(a, a.peer(t, row.server), NoClientCert))
			require.NoError(t, err)
			_, err = handshake(at(server), client)
			if row.want == "" {
				require.NoError(t, err)
				require.Equal(t, "ca.example", accepted, "it is asked about the leaf")
				return
			}
			require.ErrorContains(t, err, row.want)
		})
	}
}

func TestWorkloadClientNeedsToKnowWhomToAccept(t *testing.T) {
	whole := WorkloadTLSConfig{
		Roots:       func() *x509.CertPool { return x509.NewCertPool() },
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, nil },
		Accept:      func(*x509.Certificate) error { return nil },
	}
	_, err := WorkloadClientTLS(whole)
	require.NoError(t, err)
	for name, change := range map[string]func(*WorkloadTLSConfig){
		"anchors":        func(c *WorkloadTLSConfig) { c.Roots = nil },
		"a certificate":  func(c *WorkloadTLSConfig) { c.Certificate = nil },
		"whom to accept": func(c *WorkloadTLSConfig) { c.Accept = nil },
	} {
		part := whole
		change(&part)
		_, err := WorkloadClientTLS(part)
		require.Error(t, err, name)
	}
}
