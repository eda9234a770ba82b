package cas_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.step.sm/crypto/jose"

	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/cmd/ca-upstream/cas"
	"github.com/kedge-ca/kedge/fips"
)

// stepCA is a running step-ca: a root, its own intermediate with room for one
// more below, and a provisioner whose template makes intermediates.
type stepCA struct {
	dir         string
	address     string
	anchor      *x509.Certificate
	provisioner string // key file
	binary      string
	process     *exec.Cmd
	output      *output
}

// output is what the process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// findStepCA finds the binary that test/tools/server builds.
func findStepCA(t *testing.T) string {
	t.Helper()
	cache := os.Getenv("E2E_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		require.NoError(t, err)
		cache = filepath.Join(user, "kedge", "e2e")
	}
	found, err := filepath.Glob(filepath.Join(cache, "stepca-????????????????"))
	require.NoError(t, err)
	if len(found) == 0 {
		t.Skipf("there is no step-ca in %s: build it with test/tools/server stepca", cache)
	}
	return found[len(found)-1]
}

// intermediateTemplate is the provisioner's template, the same that the
// documentation gives.
func intermediateTemplate(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/intermediate.tpl")
	require.NoError(t, err)
	return string(raw)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func writeKey(t *testing.T, path string, key crypto.Signer) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	writePEM(t, path, "PRIVATE KEY", der)
}

// newStepCA writes what a step-ca needs and starts it.
func newStepCA(t *testing.T, template string) *stepCA {
	t.Helper()
	s := &stepCA{binary: findStepCA(t), dir: t.TempDir(), address: freeAddress(t)}
	rootKey, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	s.anchor = upstreamtest.NewRootWith(t, rootKey, time.Now()).Certificate
	issuerKey, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	keyID, err := fips.KeyID(issuerKey.Public())
	require.NoError(t, err)
	issuer, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(0).SetBytes(keyID), Subject: pkix.Name{CommonName: "step-ca"}, SubjectKeyId: keyID,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, s.anchor, issuerKey.Public(), rootKey)
	require.NoError(t, err)
	writePEM(t, filepath.Join(s.dir, "root.pem"), "CERTIFICATE", s.anchor.Raw)
	writePEM(t, filepath.Join(s.dir, "issuer.pem"), "CERTIFICATE", issuer)
	writeKey(t, filepath.Join(s.dir, "issuer.key"), issuerKey)

	provisionerKey, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	s.provisioner = filepath.Join(s.dir, "provisioner.key")
	writeKey(t, s.provisioner, provisionerKey)
	public := jose.JSONWebKey{Key: provisionerKey.Public(), Algorithm: "ES256", Use: "sig"}
	public.KeyID, err = jose.Thumbprint(&public)
	require.NoError(t, err)
	raw, err := json.Marshal(map[string]any{
		"root": filepath.Join(s.dir, "root.pem"), "crt": filepath.Join(s.dir, "issuer.pem"), "key": filepath.Join(s.dir, "issuer.key"),
		"address": s.address, "dnsNames": []string{"127.0.0.1"}, "logger": map[string]string{"format": "text"},
		"authority": map[string]any{"backdate": "1m0s", "provisioners": []any{map[string]any{
			"type": "JWK", "name": "kedge", "key": public, "options": map[string]any{"x509": map[string]any{"template": template}},
			"claims": map[string]any{"maxTLSCertDuration": "336h", "defaultTLSCertDuration": "168h"},
		}}},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "ca.json"), raw, 0o600))
	s.start(t)
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// start runs the process and waits until it answers on TLS.
func (s *stepCA) start(t *testing.T) {
	t.Helper()
	s.output = &output{}
	s.process = exec.CommandContext(t.Context(), s.binary, filepath.Join(s.dir, "ca.json"))
	s.process.Env = append(os.Environ(), "STEPPATH="+s.dir)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	require.NoError(t, s.process.Start())
	t.Cleanup(func() { s.stop(t) })
	pool := x509.NewCertPool()
	pool.AddCert(s.anchor)
	require.Eventually(t, func() bool {
		conn, err := tls.Dial("tcp", s.address, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, 30*time.Second, 50*time.Millisecond, "%s", s.output)
}

func (s *stepCA) stop(t *testing.T) {
	t.Helper()
	if s.process.ProcessState == nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
	}
}

func (s *stepCA) root(t *testing.T) *cas.Root {
	t.Helper()
	sum := sha256.Sum256(s.anchor.Raw)
	root, err := cas.New(cas.Config{
		Type: cas.TypeStep, Authority: "https://" + s.address, Fingerprint: hex.EncodeToString(sum[:]),
		Issuer: &cas.Issuer{Type: "jwk", Provisioner: "kedge", Key: s.provisioner}, Now: time.Now,
	})
	require.NoError(t, err)
	return root
}

func TestStepCAConforms(t *testing.T) {
	s := newStepCA(t, intermediateTemplate(t))
	conform(t, s.root(t))
	if t.Failed() {
		t.Log(s.output)
	}
}

// ask asks for an intermediate of a week.
func ask(t *testing.T, root ca.Root) ([]*x509.Certificate, error) {
	t.Helper()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	require.NoError(t, err)
	now := time.Now()
	return root.SignIntermediate(t.Context(), csr, ca.IntermediateRequest{
		TrustDomain: upstreamtest.Domain(t), NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.IntermediateLifetime),
	})
}

// TestStepCAThatMakesNoIntermediatesIsRefused: the templates that a careless
// operator would give.
func TestStepCAThatMakesNoIntermediatesIsRefused(t *testing.T) {
	rows := []struct{ name, template, want string }{
		{"step-ca's default, a leaf", "", "not a CA certificate"},
		{"room for one more CA", `{"subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}, "keyUsage": ["certSign","crlSign"], "basicConstraints": {"isCA": true, "maxPathLen": 1}}`, "path length"},
		{"usages of a server", `{"subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}, "keyUsage": ["certSign","crlSign"], "extKeyUsage": ["serverAuth"], "basicConstraints": {"isCA": true, "maxPathLen": 0}}`, "extended key usage"},
		{"no names", `{"subject": {{ toJson .Subject }}, "keyUsage": ["certSign","crlSign"], "basicConstraints": {"isCA": true, "maxPathLen": 0}}`, "one URI"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := ask(t, over(t, newStepCA(t, row.template).root(t)))
			require.ErrorContains(t, err, row.want)
			require.Equal(t, ca.ReasonRootMismatch, ca.ReasonOf(err))
		})
	}
}

func TestStepCAThatIsDownIsReachedLater(t *testing.T) {
	s := newStepCA(t, intermediateTemplate(t))
	s.stop(t)
	root := over(t, s.root(t))
	_, err := ask(t, root)
	require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err), "%v", err)
	s.start(t)
	_, err = ask(t, root)
	require.NoError(t, err, "it was not there when the root was made")
	s.stop(t)
	_, err = ask(t, root)
	require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err), "%v", err)
	s.start(t)
	_, err = ask(t, root)
	require.NoError(t, err)
}

// TestStepCAThatHangsIsLeft: the caller's time counts, whatever step-ca does.
func TestStepCAThatHangsIsLeft(t *testing.T) {
	s := newStepCA(t, intermediateTemplate(t))
	root := over(t, s.root(t))
	_, err := ask(t, root)
	require.NoError(t, err)
	require.NoError(t, s.process.Process.Signal(syscall.SIGSTOP))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = root.Anchor(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, s.process.Process.Signal(syscall.SIGCONT))
	_, err = ask(t, root)
	require.NoError(t, err)
}

func TestStepCAWithAnotherRootIsRefused(t *testing.T) {
	s := newStepCA(t, intermediateTemplate(t))
	root, err := cas.New(cas.Config{
		Type: cas.TypeStep, Authority: "https://" + s.address, Fingerprint: fmt.Sprintf("%064d", 1),
		Issuer: &cas.Issuer{Type: "jwk", Provisioner: "kedge", Key: s.provisioner}, Now: time.Now,
	})
	require.NoError(t, err)
	_, err = ask(t, over(t, root))
	require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err), "%v", err)
}
