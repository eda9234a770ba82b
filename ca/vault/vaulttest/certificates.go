package vaulttest

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
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// authority is the anchor of the server's certificate, made for one test. It also
// issues certificates for clients.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := newKey(t)
	template := template(t, "vaulttest")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	return &authority{cert: sign(t, template, template, key.Public(), key), key: key}
}

// issue returns a P-256 certificate for loopback, good for a server and a client.
func (a *authority) issue(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := template(t, name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	cert := sign(t, template, a.cert, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		t.Fatalf("generating key: %v", err)
	}
	return key
}

func template(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	serial, err := fips.NewSerial()
	if err != nil {
		t.Fatalf("making serial: %v", err)
	}
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

func sign(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		t.Fatalf("creating certificate: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("parsing certificate: %v", err)
	}
	return cert
}

// writePair writes a certificate and its key as PEM and returns the paths.
func writePair(t testing.TB, dir, name string, pair tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatalf("encoding key: %v", err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	writePEM(t, certFile, "CERTIFICATE", pair.Certificate[0])
	writePEM(t, keyFile, "PRIVATE KEY", key)
	return certFile, keyFile
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatalf("writing %s: %v", path, err)
	}
}

// client returns an HTTP client that trusts this authority only. A paused server
// never answers, so every request has an end.
func (a *authority) client(t testing.TB) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: roots})
	if err != nil {
		t.Fatalf("building client: %v", err)
	}
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: config},
		Timeout:   30 * time.Second,
	}
}
