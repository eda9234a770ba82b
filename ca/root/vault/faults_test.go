package vault_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	vaultroot "github.com/kedge-ca/kedge/ca/root/vault"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// liar stands in for a Vault whose issuer answers what no honest one does.
type liar struct {
	t      *testing.T
	key    crypto.Signer
	anchor *x509.Certificate
	domain ca.TrustDomain
	policy fips.Policy
	now    time.Time
	dir    string
	// other is a root of the same kind that nobody has configured.
	otherKey crypto.Signer
	other    *x509.Certificate
	// issuer and sign are the answers to the two requests of a signing.
	issuer func() any
	sign   func(csr *x509.CertificateRequest) any

	mu       sync.Mutex
	outcomes map[string]ca.Reason
}

// html is an answer that is no JSON.
type html string

func newLiar(t *testing.T) *liar {
	t.Helper()
	domain, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	policy, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	l := &liar{
		t: t, key: catest.GenerateKey(t, fips.ECDSAP256), domain: domain, policy: policy,
		now: time.Now(), dir: t.TempDir(), outcomes: map[string]ca.Reason{},
	}
	l.anchor = l.newAnchor(l.key)
	l.otherKey = catest.GenerateKey(t, fips.ECDSAP256)
	l.other = l.newAnchor(l.otherKey)
	l.issuer = func() any { return map[string]any{"certificate": text(l.anchor), "ca_chain": []string{text(l.anchor)}} }
	return l
}

func (l *liar) newAnchor(key crypto.Signer) *x509.Certificate {
	l.t.Helper()
	cert, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: l.domain, NotBefore: l.now.Add(-ca.CABackdate), NotAfter: l.now.Add(ca.RootLifetime), Signer: key, Policy: l.policy,
	})
	require.NoError(l.t, err)
	return cert
}

// asked is the certificate that was asked for.
func (l *liar) asked() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(7), 100), Subject: pkix.Name{CommonName: "Intermediate"},
		NotBefore: l.now.Add(-ca.CABackdate), NotAfter: l.now.Add(ca.IntermediateLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local"}},
	}
}

// issue signs a template; it may run on the goroutine of a server.
func issue(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	if template.IsCA && template.SubjectKeyId == nil {
		id, err := fips.KeyID(public)
		if err != nil {
			panic(err)
		}
		template.SubjectKeyId = id
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

func text(certs ...*x509.Certificate) string {
	var all []byte
	for _, c := range certs {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(all)
}

func certificate(certs ...*x509.Certificate) any {
	return map[string]any{"certificate": text(certs...)}
}

// ServeHTTP answers as Vault's PKI engine does, with what the row says.
func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var data any
	switch r.URL.Path {
	case "/v1/auth/token/lookup-self":
		data = map[string]any{"ttl": 3600, "expire_time": "2099-01-01T00:00:00Z", "policies": []string{"kedge"}}
	case "/v1/pki/issuer/kedge-root/json":
		data = l.issuer()
	case "/v1/pki/issuer/kedge-root/sign-intermediate":
		var body struct{ CSR string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			panic(err)
		}
		block, _ := pem.Decode([]byte(body.CSR))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			panic(err)
		}
		data = l.sign(csr)
	}
	switch data := data.(type) {
	case nil:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[]}`))
	case html:
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(data))
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "1", "data": data})
	}
}

func (l *liar) file(name, content string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	require.NoError(l.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// root starts the server and opens the root behind it.
func (l *liar) root() *vaultroot.PKI {
	l.t.Helper()
	key := catest.GenerateKey(l.t, fips.ECDSAP256)
	serving := issue(&x509.Certificate{
		SerialNumber: big.NewInt(8), NotBefore: l.now.Add(-time.Minute), NotAfter: l.now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, l.anchor, key.Public(), l.key)
	config, err := fips.ServerTLS(fips.ServerTLSConfig{Certificate: func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{serving.Raw}, PrivateKey: key, Leaf: serving}, nil
	}})
	require.NoError(l.t, err)
	server := httptest.NewUnstartedServer(l)
	address := "https://" + server.Listener.Addr().String()
	server.Listener = tls.NewListener(server.Listener, config)
	server.Start()
	l.t.Cleanup(server.Close)
	client, err := vault.New(vault.Config{
		Address: address, CAFile: l.file("ca.pem", text(l.anchor)), Now: time.Now, Observe: l.observe,
		Login: vault.Login{Type: vault.LoginToken, TokenFile: l.file("token", "hvs.fake")},
	})
	require.NoError(l.t, err)
	root, err := vaultroot.NewPKI(vaultroot.PKIConfig{Client: client, Mount: "pki", Issuer: "kedge-root", Policy: l.policy})
	require.NoError(l.t, err)
	return root
}

func (l *liar) observe(o vault.Observation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes[o.Operation] = o.Reason
}

func (l *liar) outcome(operation string) (ca.Reason, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.outcomes[operation]
	return r, ok
}

func (l *liar) ask() ([]*x509.Certificate, error) {
	l.t.Helper()
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, catest.GenerateKey(l.t, fips.ECDSAP256))
	require.NoError(l.t, err)
	return l.root().SignIntermediate(l.t.Context(), csr, ca.IntermediateRequest{
		TrustDomain: l.domain, NotBefore: l.now.Add(-ca.CABackdate), NotAfter: l.now.Add(ca.IntermediateLifetime),
	})
}

func TestIntermediateThatIsNotTheOneAskedForIsRefused(t *testing.T) {
	changed := func(change func(*x509.Certificate)) func(*liar, *x509.CertificateRequest) any {
		return func(l *liar, csr *x509.CertificateRequest) any {
			template := l.asked()
			change(template)
			return certificate(issue(template, l.anchor, csr.PublicKey, l.key))
		}
	}
	for _, row := range []struct {
		name     string
		sign     func(l *liar, csr *x509.CertificateRequest) any
		reason   ca.Reason // of the error
		observed ca.Reason // of the request, which a certificate that is wrong does not make fail
	}{
		{"what was asked for", changed(func(*x509.Certificate) {}), vault.OK, vault.OK},
		{"for another key", func(l *liar, _ *x509.CertificateRequest) any {
			return certificate(issue(l.asked(), l.anchor, l.anchor.PublicKey, l.key))
		}, ca.ReasonRootMismatch, vault.OK},
		{"of a foreign root", func(l *liar, csr *x509.CertificateRequest) any {
			return certificate(issue(l.asked(), l.other, csr.PublicKey, l.otherKey))
		}, ca.ReasonRootMismatch, vault.OK},
		{"CA:FALSE", changed(func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), ca.ReasonRootMismatch, vault.OK},
		{"path length 1", changed(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false }), ca.ReasonRootMismatch, vault.OK},
		{"with the key id of another", changed(func(c *x509.Certificate) { c.SubjectKeyId = make([]byte, 20) }), ca.ReasonRootMismatch, vault.OK},
		{"with a name of its own", changed(func(c *x509.Certificate) { c.DNSNames = []string{"vault.example"} }), ca.ReasonRootMismatch, vault.OK},
		{"ends too early", changed(func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(-time.Hour) }), ca.ReasonRootMismatch, vault.OK},
		{"ends too late", changed(func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Hour) }), ca.ReasonRootMismatch, vault.OK},
		{"the root itself", func(l *liar, _ *x509.CertificateRequest) any { return certificate(l.anchor) }, ca.ReasonRootMismatch, vault.OK},
		{"two certificates", func(l *liar, csr *x509.CertificateRequest) any {
			return certificate(issue(l.asked(), l.anchor, csr.PublicKey, l.key), l.anchor)
		}, ca.ReasonRootAnswer, vault.OK},
		{"no certificate", func(*liar, *x509.CertificateRequest) any { return map[string]any{"certificate": ""} }, ca.ReasonRootAnswer, vault.OK},
		{"no field for it", func(*liar, *x509.CertificateRequest) any { return map[string]any{"serial_number": "1"} }, ca.ReasonRootAnswer, vault.OK},
		{"a certificate that is a number", func(*liar, *x509.CertificateRequest) any { return map[string]any{"certificate": 1} }, ca.ReasonRootAnswer, vault.OK},
		{"a certificate that cannot be read", func(*liar, *x509.CertificateRequest) any {
			return map[string]any{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("none")}))}
		}, ca.ReasonRootAnswer, vault.OK},
		{"a key", func(*liar, *x509.CertificateRequest) any {
			return map[string]any{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("none")}))}
		}, ca.ReasonRootAnswer, vault.OK},
		{"HTML", func(*liar, *x509.CertificateRequest) any { return html("<html>") }, ca.ReasonRootAnswer, ca.ReasonRootAnswer},
		{"nothing there", func(*liar, *x509.CertificateRequest) any { return nil }, ca.ReasonRootMissing, ca.ReasonRootMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			l.sign = func(csr *x509.CertificateRequest) any { return row.sign(l, csr) }
			chain, err := l.ask()
			observed, asked := l.outcome("sign_intermediate")
			require.True(t, asked)
			require.Equal(t, row.observed, observed)
			if row.reason == vault.OK {
				require.NoError(t, err)
				require.Len(t, chain, 1)
				return
			}
			require.Equal(t, row.reason, ca.ReasonOf(err), "%v", err)
			require.Nil(t, chain)
		})
	}
}

// Nothing is asked to sign when its issuer cannot be told.
func TestIssuerThatCannotBeToldSignsNothing(t *testing.T) {
	for _, row := range []struct {
		name   string
		issuer func(l *liar) any
		reason ca.Reason
	}{
		{"nothing there", func(*liar) any { return nil }, ca.ReasonRootMissing},
		{"without a certificate", func(*liar) any { return map[string]any{} }, ca.ReasonRootMissing},
		{"HTML", func(*liar) any { return html("<html>") }, ca.ReasonRootAnswer},
		{"a certificate that cannot be read", func(*liar) any {
			return map[string]any{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("none")}))}
		}, ca.ReasonRootAnswer},
		{"a key", func(*liar) any {
			return map[string]any{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("none")}))}
		}, ca.ReasonRootAnswer},
		{"a chain without end", func(l *liar) any {
			return certificate(issue(l.asked(), l.anchor, l.otherKey.Public(), l.key))
		}, ca.ReasonRootMismatch},
		{"a chain of nine", func(l *liar) any {
			var all []*x509.Certificate
			for range 9 {
				all = append(all, l.newAnchor(l.key))
			}
			return certificate(all...)
		}, ca.ReasonRootAnswer},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			answer := row.issuer(l)
			l.issuer = func() any { return answer }
			l.sign = func(*x509.CertificateRequest) any { t.Error("it was asked to sign"); return nil }
			_, err := l.ask()
			require.Equal(t, row.reason, ca.ReasonOf(err), "%v", err)
			_, asked := l.outcome("sign_intermediate")
			require.False(t, asked)
		})
	}
}

// Vault signs with the issuer of that name as it is by then; the chain is held to
// the issuer that was read before.
func TestIssuerThatIsReplacedBetweenTheRequestsIsFound(t *testing.T) {
	l := newLiar(t)
	l.sign = func(csr *x509.CertificateRequest) any {
		return certificate(issue(l.asked(), l.other, csr.PublicKey, l.otherKey))
	}
	_, err := l.ask()
	require.Equal(t, ca.ReasonRootMismatch, ca.ReasonOf(err), "%v", err)
}
