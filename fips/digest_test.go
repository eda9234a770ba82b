package fips_test

import (
	"crypto"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

// faulty is a key whose signatures are of something else.
type faulty struct{ crypto.Signer }

func (f faulty) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	spoilt := append([]byte{digest[0] ^ 1}, digest[1:]...)
	return f.Signer.Sign(rand, spoilt, opts)
}

func TestSignDigestIsSignOfTheMessage(t *testing.T) {
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	scheme, err := fips.SchemeFor(key.Public())
	require.NoError(t, err)
	digest := sha256.Sum256([]byte("message"))
	signature, err := fips.SignDigest(key, scheme, digest[:])
	require.NoError(t, err)
	require.NoError(t, fips.Verify(key.Public(), scheme, []byte("message"), signature))
	require.NoError(t, fips.VerifyDigest(key.Public(), scheme, digest[:], signature))

	signature[len(signature)-1] ^= 1
	require.Error(t, fips.VerifyDigest(key.Public(), scheme, digest[:], signature))
	_, err = fips.SignDigest(faulty{key}, scheme, digest[:])
	require.ErrorIs(t, err, fips.ErrSignatureFault)
}

func TestDigestOfAnotherLengthIsRefused(t *testing.T) {
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	scheme, err := fips.SchemeFor(key.Public())
	require.NoError(t, err)
	other, err := fips.GenerateKey(fips.ECDSAP384)
	require.NoError(t, err)
	for _, length := range []int{0, 20, 31, 33, 48} {
		_, err := fips.SignDigest(key, scheme, make([]byte, length))
		require.ErrorContains(t, err, "is none of SHA-256")
		require.Error(t, fips.VerifyDigest(key.Public(), scheme, make([]byte, length), nil))
	}
	_, err = fips.SignDigest(other, scheme, make([]byte, 32))
	require.ErrorContains(t, err, "does not fit")
}
