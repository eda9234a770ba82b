package vault_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

// pki is an authority for the servers of one test.
type pki struct {
	t    *testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a fake"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	p := &pki{t: t, cert: template, key: key}
	p.cert = p.sign(template, key.Public())
	return p
}

func (p *pki) sign(template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	p.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, p.cert, public, p.key)
	require.NoError(p.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(p.t, err)
	return cert
}

// issue makes a certificate for loopback, after change.
func (p *pki) issue(change func(*x509.Certificate)) *tls.Certificate {
	p.t.Helper()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(p.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "fake"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	cert := p.sign(template, key.Public())
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// file writes the authority's certificate.
func (p *pki) file() string {
	p.t.Helper()
	return write(p.t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})))
}

// serve starts a server whose certificate is cert; it speaks HTTP/1.1, as Vault
// does to this client.
func (p *pki) serve(cert *tls.Certificate, h http.Handler) *httptest.Server {
	p.t.Helper()
	return p.serveTLS(fips.ServerTLSConfig{Certificate: func() (*tls.Certificate, error) { return cert, nil }}, h)
}

func (p *pki) serveTLS(c fips.ServerTLSConfig, h http.Handler) *httptest.Server {
	p.t.Helper()
	config, err := fips.ServerTLS(c)
	require.NoError(p.t, err)
	s := httptest.NewUnstartedServer(h)
	address := s.Listener.Addr().String()
	s.Listener = tls.NewListener(s.Listener, config)
	s.Config.ErrorLog = quiet()
	s.Start()
	s.URL = "https://" + address
	p.t.Cleanup(s.Close)
	return s
}

// write makes a file that only its owner can read.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// replace puts another content in the place of a file, as an agent does.
func replace(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(content), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// observations are what a client has observed.
type observations struct {
	mu  sync.Mutex
	all []vault.Observation
}

func (o *observations) add(one vault.Observation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, one)
}

// of are the outcomes of an operation, in their order.
func (o *observations) of(operation string) []ca.Reason {
	o.mu.Lock()
	defer o.mu.Unlock()
	reasons := []ca.Reason{}
	for _, one := range o.all {
		if one.Operation == operation {
			reasons = append(reasons, one.Reason)
		}
	}
	return reasons
}

// count is how often an operation ended with a reason.
func (o *observations) count(operation string, reason ca.Reason) int {
	n := 0
	for _, r := range o.of(operation) {
		if r == reason {
			n++
		}
	}
	return n
}
