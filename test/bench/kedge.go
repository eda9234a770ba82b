package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	securityapi "istio.io/api/security/v1alpha1"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/fips"
)

// Ports of the server under test, on loopback.
const (
	tlsAddr = "127.0.0.1:28443"
	opsAddr = "127.0.0.1:29443"
)

// deployment is a Kedge in a directory of its own, as ca init makes it.
type deployment struct {
	bin    string
	dir    string
	issuer *tokenIssuer
	proc   *process
	began  time.Time // of the last start
	roots  *x509.CertPool
}

// newDeployment runs ca init, with more flags where they are given, and writes the
// configuration of the benchmark: one cluster whose tokens we sign, and no quota for
// one identity.
func newDeployment(ctx context.Context, bin string, flags ...string) (*deployment, error) {
	dir, err := os.MkdirTemp("", "kedge-bench-")
	if err != nil {
		return nil, err
	}
	d := &deployment{bin: bin, dir: dir, roots: x509.NewCertPool()}
	if d.issuer, err = newTokenIssuer(); err != nil {
		return nil, err
	}
	keys, err := d.issuer.jwks()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), keys, 0o600); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	out, err := exec.CommandContext(ctx, bin, append([]string{"init", "--trust-domain", "cluster.local", "--data-dir", data,
		"--listen", tlsAddr, "--server-name", "127.0.0.1",
		"--generate-passphrases", filepath.Join(dir, "secrets"), "--config", filepath.Join(dir, "ca.yaml")}, flags...)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ca init: %w: %s", err, out)
	}
	return d, d.completeConfig()
}

// completeConfig adds what ca init does not write.
func (d *deployment) completeConfig() error {
	path := filepath.Join(d.dir, "ca.yaml")
	written, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// ca init accepts join tokens; the benchmark's callers have tokens of a cluster.
	head, _, found := strings.Cut(string(written), "authn:\n")
	if !found {
		return fmt.Errorf("%s has no section authn", path)
	}
	more, err := json.Marshal(map[string]any{ // JSON is YAML
		"kubernetes": []map[string]any{{
			"cluster": "Kubernetes", "default": true, "issuer": tokenURL, "audiences": []string{"istio-ca"},
			"jwks": map[string]string{"file": filepath.Join(d.dir, "jwks.json")},
		}},
	})
	if err != nil {
		return err
	}
	body := head + "ops: {listen: " + strconv.Quote(opsAddr) + "}\nauthn: " + string(more) +
		"\nlimits: {identityRate: 1000000, identityBurst: 1000000, handshakes: 256}\nlog: {level: error}\n"
	return os.WriteFile(path, []byte(body), 0o600)
}

// start starts the server on core cpu and returns how long it took until it was
// ready to issue.
func (d *deployment) start(ctx context.Context, cpu int) (time.Duration, error) {
	begin := time.Now()
	d.began = begin
	var err error
	if d.proc, err = startPinned(ctx, cpu, d.bin, "serve", "--config", filepath.Join(d.dir, "ca.yaml")); err != nil {
		return 0, err
	}
	for time.Since(begin) < 20*time.Second {
		if answer, err := http.Get("http://" + opsAddr + "/readyz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return time.Since(begin), nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, errors.New("the server was not ready within 20 s")
}

func (d *deployment) stop() { d.proc.stop() }

func (d *deployment) remove() { _ = os.RemoveAll(d.dir) }

// fetchRoots learns the trust anchors from the running server.
func (d *deployment) fetchRoots(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, d.bin, "bundle", "export", "--admin-socket", filepath.Join(d.dir, "data", "admin.sock")).Output()
	if err != nil {
		return fmt.Errorf("ca bundle export: %w", err)
	}
	if !d.roots.AppendCertsFromPEM(out) {
		return errors.New("ca bundle export printed no anchor")
	}
	return nil
}

// dial opens a connection, with a client certificate unless it is nil.
func (d *deployment) dial(cert *tls.Certificate) (*grpc.ClientConn, error) {
	return dialTLS(tlsAddr, d.roots, cert)
}

func dialTLS(addr string, roots *x509.CertPool, cert *tls.Certificate) (*grpc.ClientConn, error) {
	c := fips.ClientTLSConfig{Roots: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}
	if cert != nil {
		c.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	config, err := fips.ClientTLS(c)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
}

// identity is the SPIFFE ID of a service account of the benchmark.
func identity(i int) string { return fmt.Sprintf("spiffe://cluster.local/ns/bench/sa/w%d", i) }

// first gets a certificate by token for service account i.
func (d *deployment) first(ctx context.Context, i int) (*tls.Certificate, error) {
	key, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		return nil, err
	}
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	token, err := d.issuer.token(fmt.Sprintf("w%d", i))
	if err != nil {
		return nil, err
	}
	conn, err := d.dial(nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := kedgev1.NewCertificateAuthorityClient(conn).Issue(
		metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), &kedgev1.IssueRequest{Csr: csr})
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: append([][]byte{answer.GetCertificate()}, answer.GetChain()...), PrivateKey: key}, nil
}

// renewLane renews by mutual TLS over warm connections, one for each worker.
func (d *deployment) renewLane(ctx context.Context) (call, func(), error) {
	conns := make([]*grpc.ClientConn, connections)
	csrs := make([][][]byte, connections)
	var next atomic.Int64
	for w := range connections {
		cert, err := d.first(ctx, w)
		if err != nil {
			return nil, nil, err
		}
		if conns[w], err = d.dial(cert); err != nil {
			return nil, nil, err
		}
		if csrs[w], err = makeCSRs(requestsPerConnection, func(int) string { return identity(w) }); err != nil {
			return nil, nil, err
		}
	}
	do := func(ctx context.Context, worker, n int) error {
		w := worker % connections
		answer, err := kedgev1.NewCertificateAuthorityClient(conns[w]).Renew(ctx, &kedgev1.IssueRequest{Csr: csrs[w][n%requestsPerConnection]})
		if err != nil {
			return err
		}
		if next.Add(1)%sampleEvery == 0 {
			return d.verify(answer.GetCertificate(), answer.GetChain())
		}
		return nil
	}
	return do, closer(conns), nil
}

// istioLane asks in Istio's protocol by token, as pilot-agent does, over warm
// connections. Each of the identities has its own token.
func (d *deployment) istioLane() (call, func(), error) {
	conns := make([]*grpc.ClientConn, connections)
	for w := range connections {
		var err error
		if conns[w], err = d.dial(nil); err != nil {
			return nil, nil, err
		}
	}
	tokens := make([]string, tokenCount)
	csrs := make([]string, tokenCount)
	ders, err := makeCSRs(tokenCount, identity)
	if err != nil {
		return nil, nil, err
	}
	for i := range tokens {
		if tokens[i], err = d.issuer.token(fmt.Sprintf("w%d", i)); err != nil {
			return nil, nil, err
		}
		csrs[i] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: ders[i]}))
	}
	do := func(ctx context.Context, worker, n int) error {
		i := n % tokenCount
		answer, err := securityapi.NewIstioCertificateServiceClient(conns[worker%connections]).CreateCertificate(
			metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+tokens[i], "clusterid", "Kubernetes"),
			&securityapi.IstioCertificateRequest{Csr: csrs[i], ValidityDuration: 86400})
		if err != nil {
			return err
		}
		if n%sampleEvery == 0 {
			return d.verifyPEM(answer.GetCertChain())
		}
		return nil
	}
	return do, closer(conns), nil
}

func closer(conns []*grpc.ClientConn) func() {
	return func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// verify holds a sampled answer to its anchors.
func (d *deployment) verify(leaf []byte, chain [][]byte) error {
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		between.AddCert(c)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: d.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

func (d *deployment) verifyPEM(elements []string) error {
	var ders [][]byte
	for _, e := range elements[:len(elements)-1] {
		block, _ := pem.Decode([]byte(e))
		if block == nil {
			return errors.New("an element of the chain is not PEM")
		}
		ders = append(ders, block.Bytes)
	}
	return d.verify(ders[0], ders[1:])
}

// idle opens n connections with client certificates that do nothing.
func (d *deployment) idle(ctx context.Context, n int) (func(), error) {
	cert, err := d.first(ctx, 0)
	if err != nil {
		return nil, err
	}
	config, err := fips.ClientTLS(fips.ClientTLSConfig{
		Roots: d.roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"},
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
	})
	if err != nil {
		return nil, err
	}
	var conns []net.Conn
	shut := func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	dialer := tls.Dialer{Config: config}
	for range n {
		conn, err := dialer.DialContext(ctx, "tcp", tlsAddr)
		if err != nil {
			shut()
			return nil, err
		}
		conns = append(conns, conn)
		// The preface and empty SETTINGS of RFC 9113 §3.4: an HTTP/2 connection that
		// then stays idle.
		if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
			shut()
			return nil, err
		}
	}
	return shut, nil
}
