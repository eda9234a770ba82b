package istio

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"istio.io/istio/pkg/security"
	"istio.io/istio/security/pkg/nodeagent/caclient/providers/citadel"
)

// The last element is compared byte for byte by the agent (a difference makes it
// push ROOTCA to Envoy), and each intermediate needs an element of its own.
func TestChainHasLeafIntermediatesAndAllRootsInTheLastElement(t *testing.T) {
	s := startDev(t)
	client := newClient(t, agentOptions(s.address, s.token), citadel.TLSOptions{RootCert: s.bundle})
	bundle, err := os.ReadFile(s.bundle)
	require.NoError(t, err)

	for _, kind := range keyKinds {
		t.Run(kind.name, func(t *testing.T) {
			csr, key := newCSR(t, kind, agentIdentity)
			chain, err := client.CSRSign(csr, 3600)
			require.NoError(t, err)
			require.Len(t, chain, 3)
			require.Len(t, parseAll(t, chain[0]), 1)
			require.Len(t, parseAll(t, chain[1]), 1)
			require.Equal(t, string(bundle), chain[2])
			require.Len(t, parseAll(t, chain[2]), 2, "the active and the standby root")
			for _, element := range chain {
				require.True(t, strings.HasSuffix(element, "\n"), "Envoy gets the elements concatenated")
			}
			leaf := requireUsable(t, []byte(chain[0]+chain[1]), key, s.bundle)
			require.Equal(t, kind.public, leaf.PublicKeyAlgorithm)
			require.Empty(t, leaf.Subject.String(), "the CSR's empty organization is not copied")
		})
	}
}

func TestLifetimeIsTheOneAskedForWithinTheProfile(t *testing.T) {
	s := startDev(t)
	client := newClient(t, agentOptions(s.address, s.token), citadel.TLSOptions{RootCert: s.bundle})
	rows := []struct {
		name  string
		asked int64 // seconds
		want  time.Duration
	}{
		{"nothing asked is the default", 0, 24 * time.Hour},
		{"negative is the default", -1, 24 * time.Hour},
		{"the agent's default", 86400, 24 * time.Hour},
		{"one hour", 3600, time.Hour},
		{"the minimum", 300, 5 * time.Minute},
		{"90 days are shortened", 90 * 86400, 24 * time.Hour},
		{"the largest number is shortened", 1<<63 - 1, 24 * time.Hour},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			csr, _ := newCSR(t, keyKinds[2], agentIdentity)
			before := time.Now()
			chain, err := client.CSRSign(csr, row.asked)
			require.NoError(t, err)
			leaf := parseAll(t, chain[0])[0]
			require.WithinDuration(t, before.Add(row.want), leaf.NotAfter, 10*time.Second)
			require.LessOrEqual(t, before.Sub(leaf.NotBefore), row.want/10+10*time.Second)
		})
	}
}

func TestEnvoyGetsCertificateAndAnchorsFromTheCache(t *testing.T) {
	s := startDev(t)
	for _, kind := range keyKinds[:2] {
		t.Run(kind.name, func(t *testing.T) {
			o := agentOptions(s.address, s.token)
			o.ECCSigAlg, o.OutputKeyCertToDir = kind.algorithm, t.TempDir()
			a := newAgent(t, o, s.bundle)

			secret, err := a.GenerateSecret(security.WorkloadKeyCertResourceName)
			require.NoError(t, err)
			leaf := requireUsable(t, secret.CertificateChain, secret.PrivateKey, s.bundle)
			require.Equal(t, leaf.NotAfter.UTC(), secret.ExpireTime.UTC())
			require.Len(t, parseAll(t, string(secret.CertificateChain)), 4, "leaf, intermediate, two roots")

			anchors, err := a.GenerateSecret(security.RootCertReqResourceName)
			require.NoError(t, err)
			require.Len(t, parseAll(t, string(anchors.RootCert)), 2)
			require.FileExists(t, filepath.Join(o.OutputKeyCertToDir, "cert-chain.pem"))

			again, err := a.GenerateSecret(security.WorkloadKeyCertResourceName)
			require.NoError(t, err)
			require.Equal(t, secret.CertificateChain, again.CertificateChain, "a cached certificate is not issued twice")
		})
	}
}

// A virtual machine authenticates with the certificate it has (PROV_CERT) when
// its token is gone.
func TestCertificateRenewsWithoutAToken(t *testing.T) {
	s := startDev(t)
	first := newClient(t, agentOptions(s.address, s.token), citadel.TLSOptions{RootCert: s.bundle})
	csr, key := newCSR(t, keyKinds[2], agentIdentity)
	chain, err := first.CSRSign(csr, 3600)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert-chain.pem"), filepath.Join(dir, "key.pem")
	writeFile(t, certFile, chain[0]+chain[1])
	writeFile(t, keyFile, string(key))

	second := newClient(t, agentOptions(s.address, ""), citadel.TLSOptions{RootCert: s.bundle, Cert: certFile, Key: keyFile})
	csr, key = newCSR(t, keyKinds[2], agentIdentity)
	renewed, err := second.CSRSign(csr, 3600)
	require.NoError(t, err)
	leaf := requireUsable(t, []byte(renewed[0]+renewed[1]), key, s.bundle)
	old := parseAll(t, chain[0])[0]
	require.NotEqual(t, old.SerialNumber, leaf.SerialNumber)
	require.NotEqual(t, publicKey(t, old), publicKey(t, leaf))
}

func publicKey(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(c.PublicKey)
	require.NoError(t, err)
	return string(spki)
}
