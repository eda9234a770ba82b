package zones_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/zones"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// fake is a primary in memory: what rotation/primary promises, and no more.
type fake struct {
	site *apitest.Server
	skew time.Duration // of its clock

	mu       sync.Mutex
	changed  chan struct{}
	signer   crypto.Signer
	chain    []bundle.Signed
	newest   *bundle.Accepted
	tokens   map[string]string // to the key that has used it
	replicas map[[32]byte]string
	removed  map[[32]byte]bool
	command  ca.Command
	halted   string
	reports  []rotation.Report
	wanted   []time.Duration
	joins    int
}

func newPrimary(t *testing.T, site *apitest.Server) *fake {
	t.Helper()
	p := &fake{
		site: site, changed: make(chan struct{}), signer: catest.GenerateKey(t, fips.ECDSAP256),
		tokens: make(map[string]string), replicas: make(map[[32]byte]string), removed: make(map[[32]byte]bool),
	}
	p.publish(t, site.CA.Bundle)
	return p
}

// publish appends a bundle to the chain.
func (p *fake) publish(t *testing.T, b *ca.Bundle) {
	t.Helper()
	p.change(func() {
		keys := bundle.Keys{Public: []crypto.PublicKey{p.signer.Public()}, Threshold: 1}
		s, err := bundle.Make(p.newest, b, keys, time.Now(), p.signer)
		require.NoError(t, err)
		if p.newest == nil {
			p.newest, err = bundle.Begin(s, sha256.Sum256(s.Payload))
		} else {
			p.newest, err = p.newest.Next(s)
		}
		require.NoError(t, err)
		p.chain = append(p.chain, s)
	})
}

func (p *fake) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// token is a new one, as ca zones token prints it.
func (p *fake) token() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	token := fmt.Sprintf("kedge-zone-secret%d.%s", len(p.tokens), p.newest.Hash())
	p.tokens[token] = ""
	return token
}

func (p *fake) Bundles(_ context.Context, after uint64) ([]bundle.Signed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.chain[min(after, uint64(len(p.chain))):], nil
}

func (p *fake) Join(_ context.Context, r primary.JoinRequest) (primary.JoinAnswer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.joins++
	usedBy, known := p.tokens[r.Token]
	key := string(r.KeyHash[:])
	switch {
	case !known:
		return primary.JoinAnswer{}, ca.Refuse(ca.ReasonZoneToken, "no such token")
	case usedBy != "" && usedBy != key:
		return primary.JoinAnswer{}, ca.Refuse(ca.ReasonZoneTokenUsed, "used")
	}
	p.tokens[r.Token], p.replicas[r.KeyHash] = key, r.Replica
	return primary.JoinAnswer{Zone: "eu-1"}, nil
}

func (p *fake) Replica(_ context.Context, key [32]byte) (rotation.Zone, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, known := p.replicas[key]
	switch {
	case p.removed[key]:
		return "", "", ca.Refuse(ca.ReasonZoneRemoved, "removed")
	case !known:
		return "", "", ca.Refuse(ca.ReasonZoneUnknown, "unknown")
	}
	return "eu-1", name, nil
}

func (p *fake) Follow(ctx context.Context, have primary.Have) (primary.Directive, error) {
	for {
		p.mu.Lock()
		changed := p.changed
		isNew := have.Sequence < uint64(len(p.chain)) || have.Epoch < p.command.Epoch || have.Halted != p.halted
		d := primary.Directive{Bundles: p.chain[min(have.Sequence, uint64(len(p.chain))):], Command: p.command, Halted: p.halted, Plan: have.Replica}
		p.mu.Unlock()
		if isNew {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return primary.Directive{}, ctx.Err()
		case <-changed:
		}
	}
}

func (p *fake) Report(_ context.Context, r rotation.Report) error {
	p.change(func() { p.reports = append(p.reports, r) })
	return nil
}

func (p *fake) SignIntermediate(_ context.Context, _ rotation.Zone, _ string, csr []byte, anchor ca.AnchorID, want time.Duration) ([]*x509.Certificate, error) {
	c := p.site.CA
	if anchor != ca.AnchorIDOf(c.Root) {
		return nil, ca.Refuse(ca.ReasonZoneAnchor, "not this one")
	}
	p.wanted = append(p.wanted, want)
	now := time.Now().Add(p.skew)
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{
		Anchor: c.Root, AnchorSigner: c.RootKey, CSR: csr, Policy: c.FIPS,
		Request: ca.IntermediateRequest{TrustDomain: c.Domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(want)},
	})
	return []*x509.Certificate{cert}, err
}

// world is a primary that serves zones.
type world struct {
	*fake
	real    zones.Primary // instead of fake, when set
	address string
	own     *tls.Certificate
	server  *api.Server
	stop    func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	site := apitest.New(t, apitest.Options{})
	w := &world{fake: newPrimary(t, site), own: certificate(t, site, "/kedge/ca"), address: "127.0.0.1:0"}
	w.serve(t)
	return w
}

// serve serves at the address of before, until the test ends or stop.
func (w *world) serve(t *testing.T) {
	t.Helper()
	config, err := fips.ServerTLS(fips.ServerTLSConfig{
		Certificate: func() (*tls.Certificate, error) { return w.own, nil }, ClientAuth: fips.RequireKey, NextProtos: []string{"h2"},
	})
	require.NoError(t, err)
	metrics, err := api.NewMetrics(prometheus.NewRegistry())
	require.NoError(t, err)
	w.server, err = api.NewServer(api.ServerConfig{
		TLS: config, Metrics: metrics, Log: slog.New(slog.DiscardHandler), Now: time.Now, Handshakes: 16, RequestTimeout: 10 * time.Second,
	})
	require.NoError(t, err)
	var primary zones.Primary = w.fake
	if w.real != nil {
		primary = w.real
	}
	require.NoError(t, zones.Register(w.server.Registrar(), zones.Config{Primary: primary, Recheck: 50 * time.Millisecond}))
	listener, err := net.Listen("tcp", w.address)
	require.NoError(t, err)
	w.address = listener.Addr().String()
	served := make(chan error, 1)
	server := w.server
	go func() { served <- server.Serve(listener) }()
	w.stop = sync.OnceFunc(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		server.Drain(now)
		require.NoError(t, <-served)
	})
	t.Cleanup(w.stop)
}

// certificate is one of the authority, for the address of the primary, with a name of
// its own. Other names than the CA's get the profile of workloads, which has no address.
func certificate(t *testing.T, site *apitest.Server, path string) *tls.Certificate {
	t.Helper()
	identity, err := ca.ParseIdentity(site.CA.Domain.URI() + path)
	require.NoError(t, err)
	caller, err := ca.NewCaller(identity, ca.Evidence{Method: ca.MethodLocal})
	require.NoError(t, err)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	request, err := ca.ParseRequest(catest.CSR(t, key, ""), ca.RequestOptions{Now: time.Now()}, site.CA.FIPS)
	require.NoError(t, err)
	issued, err := site.CA.Authority.Issue(t.Context(), caller, request)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: append([][]byte{issued.Leaf}, issued.Chain...), PrivateKey: key}
}

// replica is a replica's side: a key, and what it holds.
type replica struct {
	t    *testing.T
	key  crypto.Signer
	held *bundle.Accepted
	c    zones.ClientConfig
}

func (w *world) newReplica(t *testing.T) *replica {
	t.Helper()
	r := &replica{t: t, key: catest.GenerateKey(t, fips.ECDSAP256)}
	identity, err := ca.ParseIdentity(w.site.CA.Domain.URI() + "/kedge/ca")
	require.NoError(t, err)
	r.c = zones.ClientConfig{
		Address: w.address, Primary: identity, Key: r.key, Policy: w.site.CA.FIPS, Now: time.Now,
		Held: func(context.Context) (*ca.Bundle, error) { return r.held.Bundle(), nil },
	}
	return r
}

func (r *replica) keyHash() [32]byte {
	r.t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(r.key.Public())
	require.NoError(r.t, err)
	return sha256.Sum256(spki)
}

func (r *replica) join(name, token string) (zones.Membership, error) {
	return zones.Join(r.t.Context(), r.c, zones.Joining{Token: token, Replica: name, Version: "1.2.3"})
}

// joined is a replica that has joined, and its client.
func (w *world) joined(t *testing.T, name string) (*replica, *zones.Client) {
	t.Helper()
	r := w.newReplica(t)
	m, err := r.join(name, w.token())
	require.NoError(t, err)
	r.held = m.Bundle
	return r, r.client()
}

func (r *replica) client() *zones.Client {
	r.t.Helper()
	c, err := zones.NewClient(r.c)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, c.Close()) })
	return c
}

func (r *replica) have() primary.Have { return primary.Have{Sequence: r.held.Bundle().Sequence()} }

// within is a context that a test never waits out.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func requireReason(t *testing.T, want ca.Reason, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, ca.ReasonOf(err), "%v", err)
}

func hashOf(token string) string {
	_, hash, _ := strings.Cut(token, ".")
	return hash
}
