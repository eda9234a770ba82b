package istio

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"istio.io/istio/pkg/security"
	"istio.io/istio/security/pkg/credentialfetcher/plugin"
	"istio.io/istio/security/pkg/nodeagent/cache"
	"istio.io/istio/security/pkg/nodeagent/caclient/providers/citadel"
	pki "istio.io/istio/security/pkg/pki/util"
)

// agentOptions is what pilot-agent makes of its environment in a pod, with the
// shortest lifetime that Kedge grants.
func agentOptions(address, tokenFile string) *security.Options {
	o := &security.Options{
		CAEndpoint: address, TrustDomain: trustDomain, ClusterID: clusterID,
		WorkloadNamespace: namespace, ServiceAccount: serviceAccount,
		WorkloadRSAKeySize: 2048, Pkcs8Keys: true, SecretTTL: 24 * time.Hour, SecretRotationGracePeriodRatio: 0.5,
	}
	if tokenFile != "" {
		o.CredFetcher = plugin.CreateTokenPlugin(tokenFile)
	}
	return o
}

// newClient is Istio's client of the certificate service over TLS.
func newClient(t *testing.T, o *security.Options, tlsOptions citadel.TLSOptions) *citadel.CitadelClient {
	t.Helper()
	client, err := citadel.NewCitadelClient(o, &tlsOptions)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// agent is the secret cache of pilot-agent, and the pushes it made to Envoy.
type agent struct {
	*cache.SecretManagerClient
	mu     sync.Mutex
	pushes []string
	pushed chan string
}

func newAgent(t *testing.T, o *security.Options, rootCA string) *agent {
	t.Helper()
	client, err := citadel.NewCitadelClient(o, &citadel.TLSOptions{RootCert: rootCA})
	require.NoError(t, err)
	manager, err := cache.NewSecretManagerClient(client, o)
	require.NoError(t, err)
	t.Cleanup(manager.Close) // closes the client too
	a := &agent{SecretManagerClient: manager, pushed: make(chan string, 16)}
	manager.RegisterSecretHandler(func(name string) {
		a.mu.Lock()
		a.pushes = append(a.pushes, name)
		a.mu.Unlock()
		a.pushed <- name
	})
	return a
}

// awaitPush waits until the cache tells Envoy to fetch a resource again.
func (a *agent) awaitPush(t *testing.T, name string, limit time.Duration) {
	t.Helper()
	deadline := time.After(limit)
	for {
		select {
		case got := <-a.pushed:
			if got == name {
				return
			}
		case <-deadline:
			require.Fail(t, "no push", "resource %s within %s", name, limit)
		}
	}
}

// keyKind is how an agent is told which key to make.
type keyKind struct {
	name, algorithm, curve string
	public                 x509.PublicKeyAlgorithm
}

var keyKinds = []keyKind{
	{"RSA-2048 by default", "", "", x509.RSA},
	{"ECDSA", "ECDSA", "", x509.ECDSA},
	{"ECDSA P-256", "ECDSA", "P256", x509.ECDSA},
	{"ECDSA P-384", "ECDSA", "P384", x509.ECDSA},
}

// newCSR makes a CSR exactly as the cache does.
func newCSR(t *testing.T, k keyKind, host string) (csr, key []byte) {
	t.Helper()
	csr, key, err := pki.GenCSR(pki.CertOptions{
		Host: host, RSAKeySize: 2048, PKCS8Key: true,
		ECSigAlg: pki.SupportedECSignatureAlgorithms(k.algorithm), ECCCurve: pki.SupportedEllipticCurves(k.curve),
	})
	require.NoError(t, err)
	return csr, key
}

// parseAll reads every certificate of PEM text and demands that it holds nothing else.
func parseAll(t *testing.T, text string) []*x509.Certificate {
	t.Helper()
	var certificates []*x509.Certificate
	for rest := []byte(text); len(rest) > 0; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		require.NotNil(t, block, "bytes that are not PEM")
		require.Equal(t, "CERTIFICATE", block.Type)
		c, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		certificates = append(certificates, c)
	}
	return certificates
}

// requireUsable demands that key and chain belong together and that the leaf
// verifies, for both directions of mutual TLS, against the anchors in a file.
func requireUsable(t *testing.T, chain, key []byte, bundleFile string) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(chain, key)
	require.NoError(t, err)
	leaf := pair.Leaf
	require.Len(t, leaf.URIs, 1)
	require.Equal(t, agentIdentity, leaf.URIs[0].String())
	anchors, err := os.ReadFile(bundleFile)
	require.NoError(t, err)
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(anchors))
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		intermediates.AddCert(c)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}})
		require.NoError(t, err)
	}
	return leaf
}
