package spiffe

import (
	"crypto/x509"
	"os"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/stretchr/testify/require"
)

// TestEndpointIsReadByAFederatedDomain fetches the bundle as the profile https_web has
// it (SPIFFE_Federation §5.2.1) and holds it to the anchors of KEDGE_ENDPOINT_BUNDLE.
func TestEndpointIsReadByAFederatedDomain(t *testing.T) {
	endpoint := os.Getenv("KEDGE_ENDPOINT")
	if endpoint == "" {
		t.Skip("KEDGE_ENDPOINT names no endpoint; the step 04-bundle-endpoint does")
	}
	raw, err := os.ReadFile(os.Getenv("KEDGE_ENDPOINT_ROOTS"))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(raw))
	want, err := x509bundle.Load(trustDomain, os.Getenv("KEDGE_ENDPOINT_BUNDLE"))
	require.NoError(t, err)

	got, err := federation.FetchBundle(t.Context(), trustDomain, endpoint, federation.WithWebPKIRoots(roots))
	require.NoError(t, err)
	require.True(t, want.Equal(got.X509Bundle()))
	sequence, ok := got.SequenceNumber()
	require.True(t, ok)
	require.EqualValues(t, 1, sequence)
	hint, ok := got.RefreshHint()
	require.True(t, ok)
	require.Equal(t, 5*time.Minute, hint)
	require.Empty(t, got.JWTAuthorities())
}
