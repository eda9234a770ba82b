package authn_test

import (
	"crypto/x509"
	"testing"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// BenchmarkToken is a token of a cluster with an RSA-2048 key, as clusters have,
// and of one with P-256. Signature is the verification alone, for comparison.
func BenchmarkToken(b *testing.B) {
	for _, kind := range []fips.KeyType{fips.RSA2048, fips.ECDSAP256} {
		w := newWorld(b, kind)
		credentials := authn.Credentials{Token: w.east.Token(b, w.web()), ClusterID: "east", Peer: "192.0.2.7:443"}
		b.Run(string(kind), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := w.auth.Authenticate(b.Context(), credentials, nil)
				require.NoError(b, err)
			}
		})
		message := []byte(credentials.Token)
		scheme, err := fips.SchemeFor(w.east.Key.Public())
		require.NoError(b, err)
		signature, err := fips.Sign(w.east.Key, scheme, message)
		require.NoError(b, err)
		b.Run("signature-"+string(kind), func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, fips.Verify(w.east.Key.Public(), scheme, message, signature))
			}
		})
	}
}

// BenchmarkRefusal is what a stranger can make us do: a token of made-up claims.
func BenchmarkRefusal(b *testing.B) {
	w := newWorld(b, fips.RSA2048)
	stranger := authntest.NewIssuer(b, fips.ECDSAP256)
	unknown := stranger.Token(b, w.web())
	stranger.KeyID = w.east.KeyID
	for name, token := range map[string]string{"unknown-key": unknown, "other-kind-of-key": stranger.Token(b, w.web())} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := w.authenticate(token, "")
				require.Error(b, err)
			}
		})
	}
}

func BenchmarkCertificate(b *testing.B) {
	m := newMesh(b)
	issued, err := m.Authority.Issue(b.Context(), m.Caller(b, "web"), m.Request(b, catest.GenerateKey(b, fips.ECDSAP256), ""))
	require.NoError(b, err)
	leaf, err := x509.ParseCertificate(issued.Leaf)
	require.NoError(b, err)
	state := m.state(b, template(webID))
	state.VerifiedChains[0][0] = leaf
	b.ReportAllocs()
	for b.Loop() {
		_, err := m.renew(state)
		require.NoError(b, err)
	}
}
