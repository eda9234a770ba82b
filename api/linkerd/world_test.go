package linkerd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/api/linkerd"
	"github.com/kedge-ca/kedge/api/linkerd/proxy"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// world is an authority with Linkerd's door, and nothing of Istio on it.
type world struct {
	*apitest.Server
	mesh     linkerd.Mesh
	registry *prometheus.Registry
	address  string
}

// options are what tests vary.
type options struct {
	serverKey   fips.KeyType // "": P-256
	plaintext   bool
	ownAudience bool
}

const serverPath = "/kedge/linkerd"

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	mesh, err := linkerd.NewMesh("linkerd", "cluster.local")
	require.NoError(t, err)
	w := &world{Server: apitest.New(t, apitest.Options{}), mesh: mesh, registry: prometheus.NewRegistry()}
	w.CA.Authority.SetPolicy(w.policy(t))
	metrics, err := api.NewMetrics(w.registry)
	require.NoError(t, err)
	c := api.ServerConfig{
		Metrics: metrics, Log: slog.New(slog.NewJSONHandler(w.Log, nil)), Now: w.Clock.Now,
		Handshakes: 8, RequestTimeout: time.Minute, Plaintext: o.plaintext,
	}
	if !o.plaintext {
		c.NoALPN, c.TLS = true, w.serverTLS(t, o.serverKey)
	}
	server, err := api.NewServer(c)
	require.NoError(t, err)
	require.NoError(t, linkerd.Register(server.Registrar(), linkerd.Config{
		Front: w.front(t, metrics), Profile: "linkerd", Audiences: []string{linkerd.Audience}, OwnAudience: o.ownAudience,
	}))
	w.serve(t, server)
	return w
}

// policy grants service accounts of Kubernetes the profile of Linkerd, but guests
// nothing, and every workload a certificate without a DNS name.
func (w *world) policy(t *testing.T) *ca.Policy {
	t.Helper()
	var profiles []*ca.Profile
	for _, c := range []ca.ProfileConfig{
		{Name: "linkerd", AccountDomain: w.mesh.AccountDomain(), KeyTypes: []fips.KeyType{fips.ECDSAP256}},
		{Name: "workload"}, {Name: "server", ServerOnly: true, DNSNames: []string{w.mesh.ServerName()}},
	} {
		p, err := ca.NewProfile(c)
		require.NoError(t, err)
		profiles = append(profiles, p)
	}
	policy, err := ca.NewPolicy(ca.PolicyConfig{TrustDomain: w.CA.Domain, Profiles: profiles, Rules: []ca.RuleConfig{
		{Name: "this server", Methods: []ca.Method{ca.MethodLocal}, Identities: []string{w.CA.Domain.URI() + serverPath}, Profile: "server"},
		{Name: "no guests", Identities: []string{w.CA.Domain.URI() + "/ns/guest/*"}, Deny: true},
		{Name: "every workload", Profile: "workload"},
		{Name: "every Linkerd proxy", Methods: []ca.Method{ca.MethodKubernetes}, Profile: "linkerd"},
	}})
	require.NoError(t, err)
	return policy
}

func (w *world) front(t *testing.T, metrics *api.Metrics) *api.Front {
	t.Helper()
	quota, err := api.NewQuota(1e6, 1e6)
	require.NoError(t, err)
	front, err := api.NewFront(api.FrontConfig{
		Issuer: w.CA.Authority, Authenticator: w.Authenticator, Quota: quota, Gate: w.Gate, Metrics: metrics, Now: w.Clock.Now,
	})
	require.NoError(t, err)
	return front
}

// serverTLS is a listener of TLS 1.3 that asks for no client certificate.
func (w *world) serverTLS(t *testing.T, kind fips.KeyType) *tls.Config {
	t.Helper()
	if kind == "" {
		kind = fips.ECDSAP256
	}
	key := catest.GenerateKey(t, kind)
	identity, err := ca.ParseIdentity(w.CA.Domain.URI() + serverPath)
	require.NoError(t, err)
	caller, err := ca.NewCaller(identity, ca.Evidence{Method: ca.MethodLocal})
	require.NoError(t, err)
	r, err := ca.ParseRequest(catest.CSR(t, key, ""), ca.RequestOptions{Now: w.Clock.Now()}, w.CA.FIPS)
	require.NoError(t, err)
	issued, err := w.CA.Authority.Issue(t.Context(), caller, r)
	require.NoError(t, err)
	own := &tls.Certificate{Certificate: append([][]byte{issued.Leaf}, issued.Chain...), PrivateKey: key}
	config, err := fips.ServerTLS(fips.ServerTLSConfig{
		Certificate: func() (*tls.Certificate, error) { return own, nil },
		NextProtos:  []string{"h2"}, MinVersion: tls.VersionTLS13,
	})
	require.NoError(t, err)
	return config
}

func (w *world) serve(t *testing.T, server *api.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		server.Drain(now)
		require.NoError(t, <-served)
	})
}

// issuer is the door as a proxy with the anchors in force knows it.
func (w *world) issuer() proxy.Issuer {
	return proxy.Issuer{Address: w.address, Name: w.mesh.ServerName(), Anchors: w.CA.Bundle.Pool()}
}

// name is the identity of an account in the namespace default.
func (w *world) name(account string) string { return account + ".default." + w.mesh.AccountDomain() }

// token is what kubelet mounts for a proxy of default/<account>.
func (w *world) token(t *testing.T, account string) []byte {
	t.Helper()
	return []byte(w.Issuer.Token(t, w.claims("default", account)))
}

func (w *world) claims(namespace, account string) authntest.Claims {
	return authntest.ServiceAccount(namespace, account, w.Clock.Now()).With("aud", []string{linkerd.Audience})
}

// identity is a new pod of default/<account>.
func (w *world) identity(t *testing.T, account string) proxy.Identity {
	t.Helper()
	own, err := proxy.NewIdentity(w.name(account))
	require.NoError(t, err)
	return own
}

// certify asks as a proxy of default/<account> does and requires an answer.
func (w *world) certify(t *testing.T, own proxy.Identity, account string) proxy.Certified {
	t.Helper()
	got, err := w.issuer().Certify(t.Context(), own, w.token(t, account), w.Clock.Now())
	require.NoError(t, err)
	return got
}

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// dialer connects gRPC as the proxy connects.
func dialer(i proxy.Issuer) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) { return i.Connect(ctx) }
}

// orderBy is an order at a door without demands of its own.
func orderBy(token []byte) api.Order {
	return api.Order{Protocol: api.ProtocolKedge, Token: &api.MessageToken{Value: string(token)}}
}

// counter is the values of a counter by its labels' values, which stand in the
// order of their names.
func (w *world) counter(t *testing.T, name string) map[string]float64 {
	t.Helper()
	families, err := w.registry.Gather()
	require.NoError(t, err)
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if f.GetName() == name {
				values[strings.Join(labels, " ")] = m.GetCounter().GetValue()
			}
		}
	}
	return values
}
