package fips_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

// fakeSigner has the public key of one signer and does what sign says.
type fakeSigner struct {
	pub  crypto.PublicKey
	sign func(digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (s fakeSigner) Public() crypto.PublicKey { return s.pub }

func (s fakeSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(digest, opts)
}

func key(t testing.TB, k fips.KeyType) crypto.Signer {
	t.Helper()
	s, err := fips.GenerateKey(k)
	require.NoError(t, err)
	return s
}

// The certificate's AlgorithmIdentifier and crypto/x509 must agree, or a
// verifier reads another algorithm than the one that signed.
func TestSchemeMatchesX509(t *testing.T) {
	for _, k := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA2048, fips.RSA3072} {
		for _, p := range []string{"fips", "cnsa1"} {
			t.Run(string(k)+" under "+p, func(t *testing.T) {
				s := key(t, k)
				scheme, err := policy(t, p).SchemeFor(s.Public())
				require.NoError(t, err)
				tmpl := &x509.Certificate{
					SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"},
					NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0), SignatureAlgorithm: scheme.Algorithm,
				}
				der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, s.Public(), s)
				require.NoError(t, err)
				cert, err := x509.ParseCertificate(der)
				require.NoError(t, err)
				require.True(t, bytes.Contains(cert.RawTBSCertificate, scheme.AlgorithmIdentifier))
				require.NoError(t, fips.Verify(s.Public(), scheme, cert.RawTBSCertificate, cert.Signature))
				sig, err := fips.Sign(s, scheme, cert.RawTBSCertificate)
				require.NoError(t, err)
				require.NoError(t, cert.CheckSignature(scheme.Algorithm, cert.RawTBSCertificate, sig))
			})
		}
	}
}

func TestSignReturnsNothingThatDoesNotVerify(t *testing.T) {
	good, other := key(t, fips.ECDSAP256), key(t, fips.ECDSAP256)
	scheme, err := fips.SchemeFor(good.Public())
	require.NoError(t, err)
	down := errors.New("signer is unreachable")
	rows := []struct {
		name string
		sign func([]byte, crypto.SignerOpts) ([]byte, error)
		want error
	}{
		{"another key", func(d []byte, o crypto.SignerOpts) ([]byte, error) { return other.Sign(rand.Reader, d, o) }, fips.ErrSignatureFault},
		{"another digest", func(d []byte, o crypto.SignerOpts) ([]byte, error) {
			return good.Sign(rand.Reader, bytes.Repeat([]byte{1}, 32), o)
		}, fips.ErrSignatureFault},
		{"one bit flipped", func(d []byte, o crypto.SignerOpts) ([]byte, error) {
			sig, err := good.Sign(rand.Reader, d, o)
			sig[len(sig)-1] ^= 1
			return sig, err
		}, fips.ErrSignatureFault},
		{"nothing", func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }, fips.ErrSignatureFault},
		{"an error", func([]byte, crypto.SignerOpts) ([]byte, error) { return []byte{1}, down }, down},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			sig, err := fips.Sign(fakeSigner{good.Public(), r.sign}, scheme, []byte("message"))
			require.Nil(t, sig)
			require.ErrorIs(t, err, r.want)
		})
	}
}

func TestSchemeOfAnotherKeyIsRefused(t *testing.T) {
	p256, p384, r := key(t, fips.ECDSAP256), key(t, fips.ECDSAP384), key(t, fips.RSA2048)
	signers := map[string]crypto.Signer{"P-256": p256, "P-384": p384, "RSA": r}
	for a, signer := range signers {
		for b, owner := range signers {
			scheme, err := fips.SchemeFor(owner.Public())
			require.NoError(t, err)
			_, err = fips.Sign(signer, scheme, []byte("message"))
			if a == b {
				require.NoError(t, err)
			} else {
				require.Error(t, err, "%s with the scheme of %s", a, b)
				require.Error(t, fips.Verify(signer.Public(), scheme, []byte("message"), []byte{1}))
			}
		}
	}
	scheme, err := fips.SchemeFor(p256.Public())
	require.NoError(t, err)
	scheme.Hash = crypto.SHA1
	_, err = fips.Sign(p256, scheme, []byte("message"))
	require.Error(t, err)
}

func TestSchemeForRefuses(t *testing.T) {
	for _, pub := range []crypto.PublicKey{nil, ecKey(t, elliptic.P224()), ecKey(t, elliptic.P521()), "key", (*ecdsa.PublicKey)(nil)} {
		_, err := fips.SchemeFor(pub)
		require.Error(t, err, "%T", pub)
	}
}

func TestVerifyRefusesAnotherMessage(t *testing.T) {
	for _, k := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA2048} {
		s := key(t, k)
		scheme, err := fips.SchemeFor(s.Public())
		require.NoError(t, err)
		sig, err := fips.Sign(s, scheme, []byte("message"))
		require.NoError(t, err)
		require.NoError(t, fips.Verify(s.Public(), scheme, []byte("message"), sig))
		require.Error(t, fips.Verify(s.Public(), scheme, []byte("massage"), sig))
	}
}

func TestCreateRequestSignsWithTheSchemeOfItsKey(t *testing.T) {
	for k, want := range map[fips.KeyType]x509.SignatureAlgorithm{
		fips.ECDSAP256: x509.ECDSAWithSHA256, fips.ECDSAP384: x509.ECDSAWithSHA384, fips.RSA2048: x509.SHA256WithRSA,
	} {
		tmpl := &x509.CertificateRequest{DNSNames: []string{"a.example"}, SignatureAlgorithm: x509.ECDSAWithSHA1}
		der, err := fips.CreateRequest(tmpl, key(t, k))
		require.NoError(t, err)
		require.Equal(t, x509.ECDSAWithSHA1, tmpl.SignatureAlgorithm, "the template is the caller's")
		csr, err := x509.ParseCertificateRequest(der)
		require.NoError(t, err)
		require.Equal(t, want, csr.SignatureAlgorithm)
		require.Equal(t, []string{"a.example"}, csr.DNSNames)
		require.NoError(t, csr.CheckSignature())
	}
	_, err := fips.CreateRequest(&x509.CertificateRequest{}, fakeSigner{pub: ecKey(t, elliptic.P224())})
	require.Error(t, err)
}

func BenchmarkSign(b *testing.B) {
	for _, k := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384} {
		b.Run(string(k), func(b *testing.B) {
			s := key(b, k)
			scheme, err := fips.SchemeFor(s.Public())
			require.NoError(b, err)
			message := make([]byte, 600)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := fips.Sign(s, scheme, message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestGenerateKeyMakesWhatItSays(t *testing.T) {
	for _, k := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA2048, fips.RSA3072} {
		got, err := fips.ParseKeyType(string(k))
		require.NoError(t, err)
		s, err := fips.GenerateKey(got)
		require.NoError(t, err)
		of, err := fips.KeyTypeOf(s.Public())
		require.NoError(t, err)
		require.Equal(t, k, of)
	}
	for _, bad := range []string{"", "ecdsa", "ECDSA-P256", "rsa-1024", "ed25519", "ecdsa-p521"} {
		_, err := fips.ParseKeyType(bad)
		require.Error(t, err)
		_, err = fips.GenerateKey(fips.KeyType(bad))
		require.Error(t, err)
	}
	for _, pub := range []crypto.PublicKey{nil, &rsa.PublicKey{}, ecKey(t, elliptic.P521()), rsaFile(t, "rsa-2560")} {
		_, err := fips.KeyTypeOf(pub)
		require.Error(t, err)
	}
}

func TestPublicKeyEqual(t *testing.T) {
	a, b, r := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256()), rsaFile(t, "rsa-2048")
	copied := *a
	require.True(t, fips.PublicKeyEqual(a, &copied))
	require.True(t, fips.PublicKeyEqual(r, r))
	for _, pair := range [][2]crypto.PublicKey{
		{a, b}, {a, r}, {r, a}, {nil, nil}, {a, nil}, {nil, a}, {"a", "a"},
		{(*ecdsa.PublicKey)(nil), a}, {(*rsa.PublicKey)(nil), (*rsa.PublicKey)(nil)},
	} {
		require.False(t, fips.PublicKeyEqual(pair[0], pair[1]))
	}
}
