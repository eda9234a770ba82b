package api_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/istio"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/kedgeapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// methods catches the handlers that gRPC would call, to feed them bytes.
type methods map[string]func(ctx context.Context, wire []byte) (any, error)

// RegisterService implements grpc.ServiceRegistrar.
func (m methods) RegisterService(desc *grpc.ServiceDesc, service any) {
	for _, method := range desc.Methods {
		m[method.MethodName] = func(ctx context.Context, wire []byte) (any, error) {
			decode := func(into any) error { return proto.Unmarshal(wire, into.(proto.Message)) }
			return method.Handler(service, ctx, decode, nil)
		}
	}
}

// fuzzed is the part of a server behind the wire.
type fuzzed struct {
	*apitest.Server
	methods methods
	token   string
}

func newFuzzed(f *testing.F) *fuzzed {
	f.Helper()
	w := &fuzzed{Server: apitest.New(f, apitest.Options{Memory: true}), methods: make(methods)}
	w.token = w.Token(f, "a")
	istio.Register(w.methods, w.Front)
	require.NoError(f, kedgeapi.Register(w.methods, kedgeapi.Config{
		Front: w.Front, Bundles: w.CA.Authority, Draining: make(chan struct{}), Watchers: 1, WatchersPerPeer: 1,
	}))
	return w
}

// call is one call of a whole request: its headers and its body.
func (w *fuzzed) call(method, authorization, clusterID string, wire []byte) (any, error) {
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", authorization, "clusterid", clusterID))
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}})
	return w.methods[method](ctx, wire)
}

// check is the oracle. What was granted names exactly the caller, is for the key
// of the CSR, verifies against the bundle, has a record, and came by the caller's
// token; what was not has a reason and no record.
func (w *fuzzed) check(t *testing.T, g granted, before int, authorization string, err error) {
	records := w.CA.Recorder.Records()
	if err != nil {
		require.Len(t, records, before)
		require.NotEqual(t, ca.Reason(""), ca.ReasonOf(err))
		if ca.ReasonOf(err) == ca.ReasonInternal { // only what was no message at all
			require.ErrorIs(t, err, proto.Error, "%v", err)
		}
		return
	}
	require.Len(t, records, before+1)
	require.Equal(t, w.token, authorization[len("bearer "):])
	require.True(t, strings.EqualFold("bearer ", authorization[:len("bearer ")]))
	leaf := apitest.RequireLeaf(t, w.Identity("a"), g.leaf, g.chain, w.CA.Bundle)
	require.Equal(t, g.leaf, leaf.Raw, "nothing behind it")
	csr, err := x509.ParseCertificateRequest(g.csr)
	require.NoError(t, err)
	require.True(t, fips.PublicKeyEqual(csr.PublicKey, leaf.PublicKey))
	for _, uri := range csr.URIs {
		require.Equal(t, w.Identity("a"), uri.String())
	}
	life := leaf.NotAfter.Sub(w.Clock.Now().Truncate(time.Second))
	require.GreaterOrEqual(t, life, ca.MinLeafTTL)
	require.LessOrEqual(t, life, ca.MaxLeafTTL)
	last := records[len(records)-1]
	require.Equal(t, w.Identity("a"), last.Identity)
	require.NotEqual(t, "server", last.Profile)
}

// granted is what an answer granted and what it was asked by.
type granted struct {
	leaf, csr []byte
	chain     [][]byte
}

// placeholder stands for the caller's token: each process of a fuzzing run has an
// issuer of its own.
const placeholder = "TOKEN"

// headers are the authorization and cluster headers to begin with.
var headers = [][2]string{
	{"Bearer TOKEN", ""}, {"bearer TOKEN", apitest.Cluster}, {"Bearer TOKEN", "other"}, {"Bearer TOKENTOKEN", ""}, {"Bearer ", ""}, {"TOKEN", ""}, {"", ""},
}

func FuzzKedge(f *testing.F) {
	w := newFuzzed(f)
	key := catest.GenerateKey(f, fips.ECDSAP256)
	for _, r := range []*kedgev1.IssueRequest{
		{Csr: catest.CSR(f, key, "")},
		{Csr: catest.CSR(f, key, w.Identity("a")), Ttl: durationpb.New(time.Hour), Profile: "short"},
		{Csr: catest.CSR(f, key, w.Identity("victim")), Ttl: &durationpb.Duration{Seconds: -1}},
		{Csr: catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(6, w.Identity("a")), catest.Name(6, w.Identity("victim")))}}.Encode(f, key)},
		{Profile: "server"},
	} {
		wire, err := proto.Marshal(r)
		require.NoError(f, err)
		for _, h := range headers {
			f.Add(wire, h[0], h[1])
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, authorization, clusterID string) {
		authorization = strings.ReplaceAll(authorization, placeholder, w.token)
		for _, method := range []string{"Issue", "Renew"} {
			before := len(w.CA.Recorder.Records())
			answer, err := w.call(method, authorization, clusterID, slices.Clone(wire))
			var g granted
			if err == nil {
				require.NotEqual(t, "Renew", method, "there is no client certificate")
				r := answer.(*kedgev1.IssueResponse)
				request := &kedgev1.IssueRequest{}
				require.NoError(t, proto.Unmarshal(wire, request))
				g = granted{leaf: r.GetCertificate(), csr: request.GetCsr(), chain: r.GetChain()}
				require.Equal(t, w.Identity("a"), r.GetIdentity())
			}
			w.check(t, g, before, authorization, err)
		}
	})
}

func FuzzIstio(f *testing.F) {
	w := newFuzzed(f)
	key := catest.GenerateKey(f, fips.ECDSAP256)
	text := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	}
	fields := func(m map[string]any) *structpb.Struct {
		s, err := structpb.NewStruct(m)
		require.NoError(f, err)
		return s
	}
	for _, r := range []*securityapi.IstioCertificateRequest{
		{Csr: text(catest.CSR(f, key, w.Identity("a"))), ValidityDuration: 86400, Metadata: fields(map[string]any{"CertSigner": ""})},
		{Csr: text(catest.CSR(f, key, "")), ValidityDuration: -1, Metadata: fields(map[string]any{"CertSigner": "short"})},
		{Csr: text(catest.CSR(f, key, w.Identity("victim"))), ValidityDuration: 300},
		{Csr: text(catest.CSR(f, key, w.Identity("a"))), Metadata: fields(map[string]any{"ImpersonatedIdentity": w.Identity("victim")})},
	} {
		wire, err := proto.Marshal(r)
		require.NoError(f, err)
		for _, h := range headers {
			f.Add(wire, h[0], h[1])
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, authorization, clusterID string) {
		authorization = strings.ReplaceAll(authorization, placeholder, w.token)
		before := len(w.CA.Recorder.Records())
		answer, err := w.call("CreateCertificate", authorization, clusterID, slices.Clone(wire))
		var g granted
		if err == nil {
			chain := answer.(*securityapi.IstioCertificateResponse).GetCertChain()
			require.Len(t, chain, 3)
			require.Equal(t, string(w.CA.Bundle.PEM()), chain[2])
			request := &securityapi.IstioCertificateRequest{}
			require.NoError(t, proto.Unmarshal(wire, request))
			g = granted{leaf: der(t, chain[0]), csr: der(t, request.GetCsr()), chain: [][]byte{der(t, chain[1])}}
		}
		w.check(t, g, before, authorization, err)
	})
}

// der is the one PEM block of an element.
func der(t *testing.T, element string) []byte {
	t.Helper()
	block, rest := pem.Decode([]byte(element))
	require.NotNil(t, block)
	require.Empty(t, strings.TrimSpace(string(rest)))
	return block.Bytes
}
