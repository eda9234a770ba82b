package api_test

import (
	"bytes"
	"crypto/tls"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// firstByte shakes hands and reads what the server says first: in TLS 1.3 only
// that tells a client that its certificate was taken.
func firstByte(t *testing.T, s *apitest.Server, config *tls.Config) error {
	t.Helper()
	plain, err := s.Connect(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, plain.Close()) }()
	conn := tls.Client(plain, config)
	require.NoError(t, conn.SetDeadline(time.Now().Add(answerLimit)))
	if err := conn.Handshake(); err != nil {
		return err
	}
	require.False(t, conn.ConnectionState().DidResume)
	_, err = conn.Read(make([]byte, 1))
	return err
}

// TestNothingIsResumed: a resumed session would outlive a distrusted anchor
// (CVE-2025-68121).
func TestNothingIsResumed(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := s.ClientTLS(t, s.Certificate(t, "a"), "h2")
		config.MinVersion, config.MaxVersion = version, version
		config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		for range 3 { // a ticket would come before the first byte
			require.NoError(t, firstByte(t, s, config))
		}
	}
}

func TestARemovedAnchorEndsNewConnectionsToo(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	config := s.ClientTLS(t, s.Certificate(t, "a"), "h2") // trusts the server's certificate as before
	require.NoError(t, firstByte(t, s, config))
	s.Rotate(t)
	require.ErrorContains(t, firstByte(t, s, config), "unknown certificate authority")
}

// TestClientCertificatesAtTheHandshake: what cannot be verified ends there, in
// bounded time, and takes nobody else along.
func TestClientCertificatesAtTheHandshake(t *testing.T) {
	s, other := apitest.New(t, apitest.Options{}), apitest.New(t, apitest.Options{})
	good := s.Certificate(t, "a")
	rows := map[string]struct {
		certificate *tls.Certificate
		ok          bool
	}{
		"a good one":         {good, true},
		"of another CA":      {other.Certificate(t, "a"), false},
		"without its chain":  {withChain(good, good.Certificate[0]), false},
		"an intermediate":    {withChain(good, good.Certificate[1]), false},
		"100 KiB of chain":   {withChain(good, padded(good, 100<<10)...), true},
		"300 KiB of chain":   {withChain(good, padded(good, 300<<10)...), false},
		"garbage in a chain": {withChain(good, good.Certificate[0], bytes.Repeat([]byte{0x30}, 4096)), false},
		"a cut certificate":  {withChain(good, good.Certificate[0][:100]), false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, row.certificate))
			_, err := client.Renew(t.Context(), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
			if row.ok {
				require.NoError(t, err)
			} else {
				require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
			}
			requireAlive(t, s)
		})
	}
}

// withChain is c with another chain before the same key.
func withChain(c *tls.Certificate, chain ...[]byte) *tls.Certificate {
	return &tls.Certificate{Certificate: chain, PrivateKey: c.PrivateKey}
}

// padded is the chain of c with its intermediate again and again.
func padded(c *tls.Certificate, size int) [][]byte {
	chain := slices.Clone(c.Certificate)
	for n := 0; n < size; n += len(c.Certificate[1]) {
		chain = append(chain, c.Certificate[1])
	}
	return chain
}

func TestAClientCertificateEndsToTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apitest.New(t, apitest.Options{Memory: true})
		key := catest.GenerateKey(t, fips.ECDSAP256)
		answer, err := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).Issue(s.As(t, "a"), &kedgev1.IssueRequest{
			Csr: catest.CSR(t, key, ""), Profile: "short", // the server's own lives longer
		})
		require.NoError(t, err)
		own := s.KeyPair(t, answer, key)
		renew := func() error {
			_, err := kedgev1.NewCertificateAuthorityClient(s.Dial(t, own)).Renew(t.Context(), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
			return err
		}
		time.Sleep(time.Until(own.Leaf.NotAfter))
		require.NoError(t, renew(), "its last second")
		time.Sleep(time.Nanosecond)
		require.Equal(t, codes.Unavailable, status.Code(renew()))
		requireAlive(t, s)
	})
}
