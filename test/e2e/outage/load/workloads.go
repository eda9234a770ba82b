package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kedge-ca/kedge/api/authn/devissuer"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/fips"
)

// identities is how many workloads ask in turn, so that none meets its quota.
const identities = 100

// patience is how long a workload waits; a server that is well answers in
// milliseconds.
const patience = 5 * time.Second

// workloads are the callers and what they met.
type workloads struct {
	options options
	issuer  *devissuer.Issuer
	conn    *grpc.ClientConn
	client  kedgev1.CertificateAuthorityClient
	roots   *x509.CertPool
	running sync.WaitGroup

	// current is the certificate of the workload that renews; nil before the first.
	// It is used by one renewal at a time.
	current  *tls.Certificate
	renewing sync.Mutex

	begun int // used by the loop only

	mu         sync.Mutex
	renewed    int // of ok
	ok, failed int
	slowest    time.Duration
	reported   time.Time
}

func newWorkloads(o options, issuer *devissuer.Issuer) (*workloads, error) {
	w := &workloads{options: o, issuer: issuer, roots: x509.NewCertPool()}
	raw, err := os.ReadFile(o.bundle)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	if !w.roots.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no certificate", o.bundle)
	}
	w.conn, err = w.dial(nil)
	if err != nil {
		return nil, err
	}
	w.client = kedgev1.NewCertificateAuthorityClient(w.conn)
	return w, nil
}

// dial makes a connection, as the holder of a certificate where there is one.
func (w *workloads) dial(current *tls.Certificate) (*grpc.ClientConn, error) {
	c := fips.ClientTLSConfig{Roots: w.roots, NextProtos: []string{"h2"}}
	if current != nil {
		c.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return current, nil }
	}
	config, err := fips.ClientTLS(c)
	if err != nil {
		return nil, err
	}
	config.Time = w.options.now
	return grpc.NewClient("passthrough:///"+w.options.server, grpc.WithTransportCredentials(credentials.NewTLS(config)))
}

// begin has the next workload ask; it does not wait, so that slow answers do not
// lower the rate.
func (w *workloads) begin(ctx context.Context) {
	n := w.begun
	w.begun++
	w.running.Go(func() {
		start := time.Now()
		err := w.ask(context.WithoutCancel(ctx), n%identities)
		w.note(err, time.Since(start))
	})
}

// ask gets one certificate with a token and verifies it.
func (w *workloads) ask(ctx context.Context, n int) error {
	_, err := w.join(ctx, fmt.Sprintf("workload-%d", n))
	return err
}

// join gets a workload's certificate with a token.
func (w *workloads) join(ctx context.Context, name string) (*tls.Certificate, error) {
	account := devissuer.ServiceAccount{Namespace: "load", Name: name, Audience: "istio-ca", TTL: time.Hour}
	token, err := w.issuer.Token(account, w.options.now())
	if err != nil {
		return nil, err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	return w.get(ctx, w.client.Issue)
}

// call is Issue or Renew.
type call func(context.Context, *kedgev1.IssueRequest, ...grpc.CallOption) (*kedgev1.IssueResponse, error)

// get makes a key, asks for its certificate and verifies it.
func (w *workloads) get(ctx context.Context, call call) (*tls.Certificate, error) {
	now := w.options.now()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		return nil, err
	}
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := call(ctx, &kedgev1.IssueRequest{Csr: csr, Ttl: durationpb.New(time.Hour)})
	if err != nil {
		return nil, err
	}
	leaf, err := w.verify(answer, now)
	if err != nil {
		return nil, err
	}
	chain := append([][]byte{answer.GetCertificate()}, answer.GetChain()...)
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

// verify holds an answer to the bundle.
func (w *workloads) verify(answer *kedgev1.IssueResponse, now time.Time) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(answer.GetCertificate())
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	above := x509.NewCertPool()
	for _, der := range answer.GetChain() {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("reading the chain: %w", err)
		}
		above.AddCert(cert)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: w.roots, Intermediates: above, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return leaf, err
}

// note counts an outcome and prints a failure.
func (w *workloads) note(err error, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slowest = max(w.slowest, took)
	if err == nil {
		w.ok++
		return
	}
	w.failed++
	fmt.Printf("%s after %s: %v\n", time.Now().UTC().Format(time.RFC3339Nano), took.Round(time.Millisecond), err)
}

// report writes the counts to the file stats, five times a second: certificates,
// failures, the slowest in milliseconds, whether the load is held, with nothing on its
// way, and how many of the certificates were renewals.
func (w *workloads) report(held bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.reported) < 200*time.Millisecond && !held {
		return nil
	}
	w.reported = time.Now()
	state := "running"
	if held {
		state = "held"
	}
	line := fmt.Sprintf("%d %d %d %s %d\n", w.ok, w.failed, w.slowest.Milliseconds(), state, w.renewed)
	next := filepath.Join(w.options.dir, "stats.next")
	if err := os.WriteFile(next, []byte(line), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(w.options.dir, "stats"))
}
