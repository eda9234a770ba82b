package upstream_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	apiupstream "github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/keystore/upstream"
	"github.com/kedge-ca/kedge/fips"
)

// liar is an upstream that answers what a test says.
type liar struct {
	upstreamv1.UnimplementedUpstreamServer
	spki []byte
	err  error
	sign func(ctx context.Context, digest []byte) ([]byte, error)
}

func (l *liar) GetPublicKey(context.Context, *upstreamv1.GetPublicKeyRequest) (*upstreamv1.PublicKey, error) {
	return &upstreamv1.PublicKey{Spki: l.spki}, l.err
}

func (l *liar) CreateKey(context.Context, *upstreamv1.CreateKeyRequest) (*upstreamv1.PublicKey, error) {
	return &upstreamv1.PublicKey{Spki: l.spki}, l.err
}

func (l *liar) SignDigest(ctx context.Context, r *upstreamv1.SignDigestRequest) (*upstreamv1.SignDigestResponse, error) {
	signature, err := l.sign(ctx, r.GetDigest())
	return &upstreamv1.SignDigestResponse{Signature: signature}, err
}

func spkiOf(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return der
}

func TestWrongPublicKeyIsRefused(t *testing.T) {
	p256 := spkiOf(t, catest.GenerateKey(t, fips.ECDSAP256))
	rows := []struct {
		name string
		spki []byte
		want string
	}{
		{"none", nil, "reading its public key"},
		{"no key", []byte("<html>"), "reading its public key"},
		{"bytes after it", append(bytes.Clone(p256), 0), "reading its public key"},
		{"a small key", spkiOf(t, catest.GenerateKey(t, fips.RSA2048)), "key_rsa_ca_size"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			store := newStore(t, upstreamtest.ServeFake(t, &liar{spki: row.spki}))
			_, err := store.Open(t.Context(), "int-1")
			require.ErrorContains(t, err, row.want)
			require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err))
			_, err = store.Create(t.Context(), "int-1")
			require.ErrorContains(t, err, row.want)
		})
	}
}

// TestWrongSignatureIsTheUpstreamsFault: reported as a fault of the module it
// would stop the whole authority.
func TestWrongSignatureIsTheUpstreamsFault(t *testing.T) {
	held := catest.GenerateKey(t, fips.ECDSAP256).(*ecdsa.PrivateKey)
	other := catest.GenerateKey(t, fips.ECDSAP256).(*ecdsa.PrivateKey)
	rows := []struct {
		name string
		sign func(ctx context.Context, digest []byte) ([]byte, error)
		want string
	}{
		{"none", func(context.Context, []byte) ([]byte, error) { return nil, nil }, "does not verify"},
		{"another key's", func(_ context.Context, d []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, other, d) }, "does not verify"},
		{"of another digest", func(context.Context, []byte) ([]byte, error) {
			d := sha256.Sum256([]byte("another"))
			return ecdsa.SignASN1(rand.Reader, held, d[:])
		}, "does not verify"},
		{"above 1 MiB", func(context.Context, []byte) ([]byte, error) { return make([]byte, apiupstream.MaxAnswer), nil }, "ResourceExhausted"},
		{"an error", func(context.Context, []byte) ([]byte, error) { return nil, status.Error(codes.Unavailable, "no token") }, "no token"},
		{"one that never comes", func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }, "deadline exceeded"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			store, err := upstream.New(upstream.Config{
				Client: upstreamtest.ServeFake(t, &liar{spki: spkiOf(t, held), sign: row.sign}), Policy: upstreamtest.Policy(t), Timeout: time.Second,
			})
			require.NoError(t, err)
			key, err := store.Open(t.Context(), "int-1")
			require.NoError(t, err)
			scheme, err := fips.SchemeFor(key.Public())
			require.NoError(t, err)
			_, err = fips.Sign(key, scheme, []byte("message"))
			require.ErrorContains(t, err, row.want)
			require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err))
			require.NotErrorIs(t, err, fips.ErrSignatureFault)
		})
	}
}

func TestOnlyOneWayOfSigningIsOffered(t *testing.T) {
	key := catest.GenerateKey(t, fips.RSA3072)
	store := newStore(t, upstreamtest.ServeFake(t, &liar{spki: spkiOf(t, key), sign: func(context.Context, []byte) ([]byte, error) {
		t.Error("the upstream was asked")
		return nil, nil
	}}))
	opened, err := store.Open(t.Context(), "int-1")
	require.NoError(t, err)
	digest := make([]byte, 32)
	for name, opts := range map[string]crypto.SignerOpts{
		"nothing":      nil,
		"another hash": crypto.SHA384,
		"no hash":      crypto.Hash(0),
		"PSS":          &rsa.PSSOptions{Hash: crypto.SHA256},
	} {
		_, err := opened.Sign(rand.Reader, digest, opts)
		require.Error(t, err, name)
	}
	_, err = opened.Sign(rand.Reader, digest[:16], crypto.SHA256)
	require.Error(t, err)
}

func TestEndedContextEndsACall(t *testing.T) {
	store := newStore(t, upstreamtest.ServeFake(t, &liar{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Create(ctx, "int-1")
	require.ErrorIs(t, err, context.Canceled)
	_, err = store.Open(ctx, "int-1")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, store.Destroy(ctx, "int-1"), context.Canceled)
}

func TestServiceThatHoldsNoKeysIsNoMissingKey(t *testing.T) {
	client := upstreamtest.Serve(t, apiupstream.Config{Root: upstreamtest.NewRoot(t, time.Now())})
	_, err := newStore(t, client).Open(t.Context(), "int-1")
	require.ErrorContains(t, err, "holds no keys")
	require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err))
}
