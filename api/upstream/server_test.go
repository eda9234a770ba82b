package upstream_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	upstreamv1 "github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/keystore/memory"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

// witness is a root that tells whether it was asked.
type witness struct {
	*upstreamtest.Root
	asked bool
}

func (w *witness) SignIntermediate(ctx context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	w.asked = true
	return w.Root.SignIntermediate(ctx, csr, p)
}

func csr(t *testing.T, keyType fips.KeyType) []byte {
	t.Helper()
	der, err := fips.CreateRequest(&x509.CertificateRequest{}, catest.GenerateKey(t, keyType))
	require.NoError(t, err)
	return der
}

func sound(t *testing.T) *upstreamv1.SignIntermediateRequest {
	t.Helper()
	return &upstreamv1.SignIntermediateRequest{
		Csr: csr(t, fips.ECDSAP256), TrustDomain: "cluster.local",
		NotBefore: timestamppb.New(catest.Start.Add(-ca.CABackdate)), NotAfter: timestamppb.New(catest.Start.Add(ca.IntermediateLifetime)),
	}
}

func TestRootSeesOnlyWhatPolicyAllows(t *testing.T) {
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(catest.Start.Add(d)) }
	rows := []struct {
		name  string
		spoil func(t *testing.T, r *upstreamv1.SignIntermediateRequest)
		want  string
	}{
		{"no request", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.Csr = nil }, "reading the request"},
		{"bytes after it", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.Csr = append(r.Csr, 0) }, "reading the request"},
		{"a forged signature", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.Csr[len(r.Csr)-1] ^= 1 }, "does not prove its key"},
		{"a small key", func(t *testing.T, r *upstreamv1.SignIntermediateRequest) { r.Csr = csr(t, fips.RSA2048) }, "key_rsa_ca_size"},
		{"no trust domain", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.TrustDomain = "" }, "signs for trust domain cluster.local"},
		{"another trust domain", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.TrustDomain = "evil.example" }, "signs for trust domain cluster.local"},
		{"no time", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.NotAfter = nil }, "time of the intermediate is missing"},
		{"a life that is over", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.NotAfter = at(0) }, "would have ended"},
		{"a life of years", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.NotAfter = at(ca.RootLifetime) }, "would live more than"},
		{"a life to come", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.NotBefore = at(time.Hour) }, "would begin at"},
		{"a life from long ago", func(_ *testing.T, r *upstreamv1.SignIntermediateRequest) { r.NotBefore = at(-48 * time.Hour) }, "would have begun"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			root := &witness{Root: upstreamtest.NewRoot(t, catest.Start)}
			client := upstreamtest.Serve(t, upstream.Config{Root: root, Now: catest.NewClock().Now})
			r := sound(t)
			row.spoil(t, r)
			_, err := client.SignIntermediate(t.Context(), r)
			require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
			require.ErrorContains(t, err, row.want)
			require.False(t, root.asked)
			_, err = client.SignIntermediate(t.Context(), sound(t))
			require.NoError(t, err, "the sound one is signed")
		})
	}
}

// keyWorld is a server of keys with one key, and a request that it signs.
func keyWorld(t *testing.T, keyType fips.KeyType) (upstreamv1.UpstreamClient, *memory.Store, *upstreamv1.SignDigestRequest) {
	t.Helper()
	keys, err := memory.New(keyType)
	require.NoError(t, err)
	client := upstreamtest.Serve(t, upstream.Config{Keys: keys})
	made, err := client.CreateKey(t.Context(), &upstreamv1.CreateKeyRequest{Name: "int-1"})
	require.NoError(t, err)
	pin, digest := sha256.Sum256(made.GetSpki()), sha256.Sum256([]byte("message"))
	return client, keys, &upstreamv1.SignDigestRequest{
		Name: "int-1", Digest: digest[:], Hash: upstreamv1.Hash_HASH_SHA256, SpkiSha256: pin[:],
	}
}

func TestOnlyDigestsOfTheKeysHashAreSigned(t *testing.T) {
	rows := []struct {
		name  string
		spoil func(r *upstreamv1.SignDigestRequest)
		code  codes.Code
	}{
		{"no digest", func(r *upstreamv1.SignDigestRequest) { r.Digest = nil }, codes.InvalidArgument},
		{"half a digest", func(r *upstreamv1.SignDigestRequest) { r.Digest = r.Digest[:16] }, codes.InvalidArgument},
		{"a message", func(r *upstreamv1.SignDigestRequest) { r.Digest = make([]byte, 4096) }, codes.InvalidArgument},
		{"no hash", func(r *upstreamv1.SignDigestRequest) { r.Hash = 0 }, codes.InvalidArgument},
		{"an unknown hash", func(r *upstreamv1.SignDigestRequest) { r.Hash = 9 }, codes.InvalidArgument},
		{"another's hash", func(r *upstreamv1.SignDigestRequest) {
			r.Hash, r.Digest = upstreamv1.Hash_HASH_SHA384, make([]byte, 48)
		}, codes.InvalidArgument},
		{"no pin", func(r *upstreamv1.SignDigestRequest) { r.SpkiSha256 = nil }, codes.FailedPrecondition},
		{"the pin of another key", func(r *upstreamv1.SignDigestRequest) { r.SpkiSha256[0] ^= 1 }, codes.FailedPrecondition},
		{"a key that is not there", func(r *upstreamv1.SignDigestRequest) { r.Name = "int-2" }, codes.NotFound},
		{"a path as a name", func(r *upstreamv1.SignDigestRequest) { r.Name = "../root" }, codes.InvalidArgument},
		{"a name without end", func(r *upstreamv1.SignDigestRequest) { r.Name = strings.Repeat("x", 65) }, codes.InvalidArgument},
		{"no name", func(r *upstreamv1.SignDigestRequest) { r.Name = "" }, codes.InvalidArgument},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			client, _, r := keyWorld(t, fips.ECDSAP256)
			_, err := client.SignDigest(t.Context(), r)
			require.NoError(t, err, "the sound one is signed")
			row.spoil(r)
			_, err = client.SignDigest(t.Context(), r)
			require.Equal(t, row.code, status.Code(err), "%v", err)
		})
	}
}

func TestReplacedKeySignsNothing(t *testing.T) {
	client, _, r := keyWorld(t, fips.ECDSAP256)
	_, err := client.DestroyKey(t.Context(), &upstreamv1.DestroyKeyRequest{Name: "int-1"})
	require.NoError(t, err)
	_, err = client.SignDigest(t.Context(), r)
	require.Equal(t, codes.NotFound, status.Code(err), "an opened key does not outlive its destruction: %v", err)
	_, err = client.CreateKey(t.Context(), &upstreamv1.CreateKeyRequest{Name: "int-1"})
	require.NoError(t, err)
	_, err = client.SignDigest(t.Context(), r)
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "%v", err)
}

func TestRootsKeyIsOutOfReach(t *testing.T) {
	keys, err := memory.New(fips.ECDSAP256)
	require.NoError(t, err)
	root, err := keys.Create(t.Context(), "root")
	require.NoError(t, err)
	client := upstreamtest.Serve(t, upstream.Config{Keys: keys, RootKeys: []crypto.PublicKey{root.Public()}})
	spki, err := x509.MarshalPKIXPublicKey(root.Public())
	require.NoError(t, err)
	pin := sha256.Sum256(spki)
	_, err = client.SignDigest(t.Context(), &upstreamv1.SignDigestRequest{Name: "root", Digest: pin[:], Hash: 1, SpkiSha256: pin[:]})
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "%v", err)
	_, err = client.DestroyKey(t.Context(), &upstreamv1.DestroyKeyRequest{Name: "root"})
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "%v", err)
	_, err = keys.Open(t.Context(), "root")
	require.NoError(t, err)
}

func TestWhatIsNotHeldIsUnimplemented(t *testing.T) {
	keys, _, _ := keyWorld(t, fips.ECDSAP256)
	_, err := keys.GetAnchors(t.Context(), &upstreamv1.GetAnchorsRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	_, err = keys.SignIntermediate(t.Context(), sound(t))
	require.Equal(t, codes.Unimplemented, status.Code(err))
	root := upstreamtest.Serve(t, upstream.Config{Root: upstreamtest.NewRoot(t, catest.Start)})
	_, err = root.CreateKey(t.Context(), &upstreamv1.CreateKeyRequest{Name: "x"})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	_, err = root.DestroyKey(t.Context(), &upstreamv1.DestroyKeyRequest{Name: "x"})
	require.Equal(t, codes.Unimplemented, status.Code(err))
}

// panicking is a root with a bug.
type panicking struct{ *upstreamtest.Root }

func (panicking) SignIntermediate(context.Context, []byte, ca.IntermediateRequest) ([]*x509.Certificate, error) {
	panic("index out of range")
}

func TestPanicEndsOneCall(t *testing.T) {
	calls := make(chan upstream.Call, 1)
	client := upstreamtest.Serve(t, upstream.Config{
		Root: panicking{upstreamtest.NewRoot(t, catest.Start)}, Now: catest.NewClock().Now, Done: func(c upstream.Call) { calls <- c },
	})
	_, err := client.SignIntermediate(t.Context(), sound(t))
	require.Equal(t, codes.Internal, status.Code(err))
	require.NotContains(t, err.Error(), "index out of range")
	call := <-calls
	require.Contains(t, string(call.Panic), "index out of range")
	require.Equal(t, upstreamtest.Me(), call.User)
	_, err = client.GetAnchors(t.Context(), &upstreamv1.GetAnchorsRequest{})
	require.NoError(t, err)
}

func TestUserWhoIsNotNamedGetsNoAnswer(t *testing.T) {
	client := upstreamtest.Serve(t, upstream.Config{
		Root: upstreamtest.NewRoot(t, catest.Start), Users: []uint32{upstreamtest.Me() + 1},
		Done: func(c upstream.Call) { t.Errorf("%s was called", c.Method) },
	})
	_, err := client.GetAnchors(t.Context(), &upstreamv1.GetAnchorsRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
}

func TestRequestWithoutEndIsRefused(t *testing.T) {
	client := upstreamtest.Serve(t, upstream.Config{Root: upstreamtest.NewRoot(t, catest.Start), Now: catest.NewClock().Now})
	r := sound(t)
	r.Csr = make([]byte, 64<<10)
	_, err := client.SignIntermediate(t.Context(), r)
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
}

func TestServerNeedsItsConfig(t *testing.T) {
	keys, err := memory.New(fips.ECDSAP256)
	require.NoError(t, err)
	whole := upstream.Config{
		TrustDomain: upstreamtest.Domain(t), Keys: keys, Policy: upstreamtest.Policy(t), Users: []uint32{1}, Now: time.Now, Done: func(upstream.Call) {},
	}
	_, err = upstream.NewServer(whole)
	require.NoError(t, err)
	for name, spoil := range map[string]func(c *upstream.Config){
		"no trust domain": func(c *upstream.Config) { c.TrustDomain = ca.TrustDomain{} },
		"nothing to hold": func(c *upstream.Config) { c.Keys = nil },
		"no policy":       func(c *upstream.Config) { c.Policy = fips.Policy{} },
		"no users":        func(c *upstream.Config) { c.Users = nil },
		"no clock":        func(c *upstream.Config) { c.Now = nil },
		"no listener":     func(c *upstream.Config) { c.Done = nil },
	} {
		c := whole
		spoil(&c)
		_, err := upstream.NewServer(c)
		require.Error(t, err, name)
	}
	for name, c := range map[string]upstream.DialConfig{"no socket": {Servers: []uint32{1}}, "nobody's": {Socket: "/x"}} {
		_, err := upstream.Dial(c)
		require.Error(t, err, name)
	}
}
