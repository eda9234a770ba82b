package spiffe

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
)

var (
	trustDomain = spiffeid.RequireTrustDomainFromString("cluster.local")
	identity    = spiffeid.RequireFromPath(trustDomain, "/ns/default/sa/default")
)

// issued is one directory that ca issue wrote.
func issued(t *testing.T, variable string) (*x509svid.SVID, *x509bundle.Bundle) {
	t.Helper()
	dir := os.Getenv(variable)
	require.NotEmpty(t, dir, "%s must name a directory that ca issue wrote", variable)
	svid, err := x509svid.Load(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	require.NoError(t, err)
	bundle, err := x509bundle.Load(trustDomain, filepath.Join(dir, "bundle.pem"))
	require.NoError(t, err)
	return svid, bundle
}

func TestCertificateIsAnX509SVID(t *testing.T) {
	svid, bundle := issued(t, "KEDGE_ISSUED")
	require.Equal(t, identity, svid.ID)
	require.Len(t, svid.Certificates, 2, "leaf and intermediate")
	require.Len(t, bundle.X509Authorities(), 2, "active and standby root")

	id, chains, err := x509svid.Verify(svid.Certificates, bundle)
	require.NoError(t, err)
	require.Equal(t, identity, id)
	require.Len(t, chains, 1)
	require.Len(t, chains[0], 3)
}

func TestAuthoritiesAreSVIDsOfTheTrustDomain(t *testing.T) {
	svid, bundle := issued(t, "KEDGE_ISSUED")
	for _, authority := range append(bundle.X509Authorities(), svid.Certificates[1]) {
		id, err := x509svid.IDFromCert(authority)
		require.NoError(t, err)
		require.Equal(t, trustDomain.ID(), id, "X509-SVID §4.1: a signing certificate has no path")
	}
}

func TestCertificateOfAnotherAuthorityIsRefused(t *testing.T) {
	svid, _ := issued(t, "KEDGE_ISSUED")
	_, other := issued(t, "KEDGE_OTHER")
	_, _, err := x509svid.Verify(svid.Certificates, other)
	require.ErrorContains(t, err, "unknown authority")
}

func TestExpiredCertificateIsRefused(t *testing.T) {
	svid, bundle := issued(t, "KEDGE_ISSUED")
	_, _, err := x509svid.Verify(svid.Certificates, bundle, x509svid.WithTime(svid.Certificates[0].NotAfter.Add(time.Second)))
	require.ErrorContains(t, err, "expired")
}

// SPIFFE Trust Domain and Bundle §4.1.1: the anchors survive the JSON form.
func TestBundleMakesASPIFFEBundleDocument(t *testing.T) {
	_, bundle := issued(t, "KEDGE_ISSUED")
	document, err := spiffebundle.FromX509Authorities(trustDomain, bundle.X509Authorities()).Marshal()
	require.NoError(t, err)
	parsed, err := spiffebundle.Parse(trustDomain, document)
	require.NoError(t, err)
	require.True(t, bundle.Equal(parsed.X509Bundle()))
}

func TestTwoWorkloadsSpeakMutualTLS(t *testing.T) {
	svid, bundle := issued(t, "KEDGE_ISSUED")
	require.NoError(t, exchange(t, svid, bundle, tlsconfig.AuthorizeID(identity)))
}

func TestMutualTLSRefusesTheAnchorsOfAnother(t *testing.T) {
	svid, _ := issued(t, "KEDGE_ISSUED")
	_, other := issued(t, "KEDGE_OTHER")
	require.ErrorContains(t, exchange(t, svid, other, tlsconfig.AuthorizeID(identity)), "unknown authority")
}

func TestMutualTLSRefusesAnotherIdentity(t *testing.T) {
	svid, bundle := issued(t, "KEDGE_ISSUED")
	someone := spiffeid.RequireFromPath(trustDomain, "/ns/default/sa/someone")
	require.Error(t, exchange(t, svid, bundle, tlsconfig.AuthorizeID(someone)))
}

// exchange has a server and a client with the same SVID shake hands and pass a
// word; it returns what the client sees.
func exchange(t *testing.T, svid *x509svid.SVID, bundle *x509bundle.Bundle, authorize tlsconfig.Authorizer) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(tls.Server(conn, tlsconfig.MTLSServerConfig(svid, bundle, authorize)), "word")
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), tlsconfig.MTLSClientConfig(svid, bundle, authorize))
	if err != nil {
		return err
	}
	defer conn.Close()
	word, err := io.ReadAll(conn)
	if err == nil {
		require.Equal(t, "word", string(word))
	}
	return err
}

// KeyUsage and basic constraints are what X509-SVID §4 demands of a leaf.
func TestLeafMayNotSign(t *testing.T) {
	svid, _ := issued(t, "KEDGE_ISSUED")
	leaf := svid.Certificates[0]
	require.False(t, leaf.IsCA)
	require.True(t, leaf.BasicConstraintsValid)
	require.Zero(t, leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign))
	require.NotZero(t, leaf.KeyUsage&x509.KeyUsageDigitalSignature)
}
