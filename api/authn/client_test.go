package authn

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// TestClientOfKeySetsIsClosed looks at the client itself: net/http reads the
// proxies of the environment once for a process, so that a test that sets them
// would prove nothing.
func TestClientOfKeySetsIsClosed(t *testing.T) {
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	anchors := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(anchors, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))

	client, err := newClient(anchors)
	require.NoError(t, err)
	transport, ok := client.Transport.(*http.Transport)
	require.True(t, ok)
	require.Nil(t, transport.Proxy)
	require.Equal(t, loadTimeout, client.Timeout)
	require.Positive(t, transport.MaxResponseHeaderBytes)
	require.NotNil(t, transport.TLSClientConfig.RootCAs, "nil would mean the system's anchors")
	require.False(t, transport.TLSClientConfig.InsecureSkipVerify)
	require.Nil(t, client.Jar)
	require.Equal(t, http.ErrUseLastResponse, client.CheckRedirect(nil, nil))
}
