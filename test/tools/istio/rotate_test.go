package istio

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"istio.io/istio/pkg/security"
)

// pushLimit is how long the tests wait for the cache to renew: it is due within
// three seconds with quickRenewal, whatever the machine does besides.
const pushLimit = 60 * time.Second

// quickRenewal makes the cache renew a certificate of five minutes after three seconds.
func quickRenewal(o *security.Options) *security.Options {
	o.SecretTTL, o.SecretRotationGracePeriodRatio = 5*time.Minute, 0.99
	o.ECCSigAlg = "ECDSA"
	return o
}

func TestRenewalHasAFreshKeyAndTheSameRoots(t *testing.T) {
	s := startDev(t)
	a := newAgent(t, quickRenewal(agentOptions(s.address, s.token)), s.bundle)
	first, err := a.GenerateSecret(security.WorkloadKeyCertResourceName)
	require.NoError(t, err)
	a.awaitPush(t, security.RootCertReqResourceName, pushLimit) // the first answer always is a change

	a.awaitPush(t, security.WorkloadKeyCertResourceName, pushLimit)
	second, err := a.GenerateSecret(security.WorkloadKeyCertResourceName)
	require.NoError(t, err)

	old := requireUsable(t, first.CertificateChain, first.PrivateKey, s.bundle)
	renewed := requireUsable(t, second.CertificateChain, second.PrivateKey, s.bundle)
	require.NotEqual(t, old.SerialNumber, renewed.SerialNumber)
	require.NotEqual(t, publicKey(t, old), publicKey(t, renewed))
	require.Equal(t, []string{security.RootCertReqResourceName, security.WorkloadKeyCertResourceName}, a.all(),
		"roots that did not change are not pushed")
}

// The cache takes the last element of an answer as the anchors: another authority
// behind the same address is another set of roots.
func TestChangedRootsArePushedToEnvoyAtOnce(t *testing.T) {
	issuer, address := newIssuer(t), freeAddress(t)
	before := startAuthority(t, authorityConfig{address: address, issuer: issuer})
	rootCA := filepath.Join(t.TempDir(), "root-cert.pem") // CA_ROOT_CA, read again at each connection
	writeFile(t, rootCA, readFile(t, before.bundle))
	a := newAgent(t, quickRenewal(agentOptions(address, before.token)), rootCA)
	_, err := a.GenerateSecret(security.WorkloadKeyCertResourceName)
	require.NoError(t, err)
	a.awaitPush(t, security.RootCertReqResourceName, pushLimit)

	before.stop(t)
	after := startAuthority(t, authorityConfig{address: address, issuer: issuer})
	writeFile(t, rootCA, readFile(t, before.bundle)+readFile(t, after.bundle))
	a.awaitPush(t, security.WorkloadKeyCertResourceName, pushLimit)
	secret := a.generateUntilIssued(t)
	a.awaitPush(t, security.RootCertReqResourceName, pushLimit)

	requireUsable(t, secret.CertificateChain, secret.PrivateKey, after.bundle)
	anchors, err := a.GenerateSecret(security.RootCertReqResourceName)
	require.NoError(t, err)
	require.ElementsMatch(t, fingerprints(t, readFile(t, after.bundle)), fingerprints(t, string(anchors.RootCert)))
}

// generateUntilIssued asks as Envoy does, again after each failure: the first
// tries still use the anchors of the connection before.
func (a *agent) generateUntilIssued(t *testing.T) *security.SecretItem {
	t.Helper()
	var secret *security.SecretItem
	require.Eventually(t, func() bool {
		var err error
		secret, err = a.GenerateSecret(security.WorkloadKeyCertResourceName)
		return err == nil
	}, pushLimit, 100*time.Millisecond)
	return secret
}

// all are the pushes so far.
func (a *agent) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.pushes...)
}

func fingerprints(t *testing.T, text string) []string {
	t.Helper()
	var all []string
	for _, c := range parseAll(t, text) {
		all = append(all, string(c.Raw))
	}
	return all
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}
