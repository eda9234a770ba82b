package fips_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

func policy(t testing.TB, name string) fips.Policy {
	t.Helper()
	p, err := fips.PolicyByName(name)
	require.NoError(t, err)
	return p
}

// rsaFile reads a public key made by OpenSSL.
func rsaFile(t testing.TB, name string) *rsa.PublicKey {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".pem")
	require.NoError(t, err)
	block, _ := pem.Decode(b)
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	require.NoError(t, err)
	return pub.(*rsa.PublicKey)
}

func ecKey(t testing.TB, c elliptic.Curve) *ecdsa.PublicKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	require.NoError(t, err)
	return &k.PublicKey
}

// foreignCurve claims to be P-256 and is another implementation.
type foreignCurve struct{ elliptic.Curve }

func TestCheckKeyRefusals(t *testing.T) {
	soon := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	late := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	good2048 := rsaFile(t, "rsa-2048").N
	p256 := ecKey(t, elliptic.P256())
	edPub, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	rows := []struct {
		name     string
		pub      crypto.PublicKey
		use      fips.Use
		notAfter time.Time
		policy   string
		code     string
	}{
		{"no key", nil, fips.UseLeaf, soon, "fips", "key_missing"},
		{"use not stated", p256, 0, soon, "fips", "use_invalid"},
		{"use out of range", p256, 4, soon, "fips", "use_invalid"},
		{"private key", &rsa.PrivateKey{}, fips.UseLeaf, soon, "fips", "key_unsupported"},
		{"X25519", x25519.PublicKey(), fips.UseLeaf, soon, "fips", "key_unsupported"},
		{"Ed25519", edPub, fips.UseLeaf, soon, "fips", "key_ed25519"},
		{"nil ECDSA", (*ecdsa.PublicKey)(nil), fips.UseLeaf, soon, "fips", "key_ecdsa_malformed"},
		{"ECDSA without curve", &ecdsa.PublicKey{X: p256.X, Y: p256.Y}, fips.UseLeaf, soon, "fips", "key_ecdsa_malformed"},
		{"ECDSA without point", &ecdsa.PublicKey{Curve: elliptic.P256()}, fips.UseLeaf, soon, "fips", "key_ecdsa_malformed"},
		{"P-224", ecKey(t, elliptic.P224()), fips.UseLeaf, soon, "fips", "key_ecdsa_p224"},
		{"P-521", ecKey(t, elliptic.P521()), fips.UseLeaf, soon, "fips", "key_ecdsa_p521"},
		{"foreign curve", &ecdsa.PublicKey{Curve: foreignCurve{elliptic.P256()}, X: p256.X, Y: p256.Y}, fips.UseLeaf, soon, "fips", "key_ecdsa_curve"},
		{"point off the curve", &ecdsa.PublicKey{Curve: elliptic.P256(), X: p256.Y, Y: p256.X}, fips.UseLeaf, soon, "fips", "key_ecdsa_point"},
		{"point at infinity", &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)}, fips.UseLeaf, soon, "fips", "key_ecdsa_point"},
		{"negative coordinate", &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).Neg(p256.X), Y: p256.Y}, fips.UseLeaf, soon, "fips", "key_ecdsa_point"},
		{"P-256 under cnsa1", p256, fips.UseLeaf, soon, "cnsa1", "key_ecdsa_profile"},
		{"nil RSA", (*rsa.PublicKey)(nil), fips.UseLeaf, soon, "fips", "key_rsa_malformed"},
		{"RSA without modulus", &rsa.PublicKey{E: 65537}, fips.UseLeaf, soon, "fips", "key_rsa_malformed"},
		{"RSA with negative modulus", &rsa.PublicKey{E: 65537, N: new(big.Int).Neg(good2048)}, fips.UseLeaf, soon, "fips", "key_rsa_malformed"},
		{"RSA-1024", rsaFile(t, "rsa-1024"), fips.UseLeaf, soon, "fips", "key_rsa_too_small"},
		{"RSA-2047", rsaFile(t, "rsa-2047"), fips.UseLeaf, soon, "fips", "key_rsa_too_small"},
		{"RSA-2560", rsaFile(t, "rsa-2560"), fips.UseLeaf, soon, "fips", "key_rsa_size"},
		{"RSA-4097", &rsa.PublicKey{E: 65537, N: new(big.Int).Lsh(big.NewInt(1), 4096)}, fips.UseLeaf, soon, "fips", "key_rsa_too_large"},
		{"RSA e=3", rsaFile(t, "rsa-e3"), fips.UseLeaf, soon, "fips", "key_rsa_exponent"},
		{"RSA e=65539", rsaFile(t, "rsa-e65539"), fips.UseLeaf, soon, "fips", "key_rsa_exponent"},
		{"RSA even exponent", &rsa.PublicKey{E: 65538, N: good2048}, fips.UseLeaf, soon, "fips", "key_rsa_exponent"},
		{"RSA even modulus", rsaKey(new(big.Int).Sub(good2048, big.NewInt(1))), fips.UseLeaf, soon, "fips", "key_rsa_modulus_even"},
		{"RSA small factor 3", rsaKey(withFactor(t, 3)), fips.UseLeaf, soon, "fips", "key_rsa_small_factor"},
		{"RSA small factor 751", rsaKey(withFactor(t, 751)), fips.UseLeaf, soon, "fips", "key_rsa_small_factor"},
		{"RSA ROCA", rsaKey(rocaModulus(t)), fips.UseLeaf, soon, "fips", "key_rsa_roca"},
		{"RSA close primes", rsaKey(closePrimes(t)), fips.UseLeaf, soon, "fips", "key_rsa_close_primes"},
		{"RSA equal primes", rsaKey(equalPrimes(t)), fips.UseLeaf, soon, "fips", "key_rsa_close_primes"},
		{"RSA-2048 as CA", rsaFile(t, "rsa-2048"), fips.UseCA, soon, "fips", "key_rsa_ca_size"},
		{"RSA-2048 beyond 2030", rsaFile(t, "rsa-2048"), fips.UseLeaf, late, "fips", "key_rsa_2048_expiry"},
		{"RSA-2048 server key beyond 2030", rsaFile(t, "rsa-2048"), fips.UseTLS, late, "fips", "key_rsa_2048_expiry"},
		{"RSA-2048 under fips-2031", rsaFile(t, "rsa-2048"), fips.UseLeaf, soon, "fips-2031", "key_rsa_profile"},
		{"RSA-2048 under cnsa1", rsaFile(t, "rsa-2048"), fips.UseLeaf, soon, "cnsa1", "key_rsa_profile"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			d := policy(t, r.policy).CheckKey(r.pub, r.use, r.notAfter)
			require.False(t, d.Allow)
			require.Equal(t, r.code, d.Code)
			require.NotEmpty(t, d.Detail)
		})
	}
}

func TestCheckKeyApprovals(t *testing.T) {
	last := time.Date(2030, 12, 31, 23, 59, 59, 0, time.UTC)
	later := time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	rows := []struct {
		name     string
		pub      crypto.PublicKey
		use      fips.Use
		notAfter time.Time
		policies []string
	}{
		{"P-256", ecKey(t, elliptic.P256()), fips.UseCA, later, []string{"fips", "fips-2031"}},
		{"P-384", ecKey(t, elliptic.P384()), fips.UseCA, later, []string{"fips", "fips-2031", "cnsa1"}},
		{"RSA-2048 leaf until the last second of 2030", rsaFile(t, "rsa-2048"), fips.UseLeaf, last, []string{"fips"}},
		{"RSA-3072", rsaFile(t, "rsa-3072"), fips.UseCA, later, []string{"fips", "fips-2031", "cnsa1"}},
		{"RSA-4096", rsaFile(t, "rsa-4096"), fips.UseTLS, later, []string{"fips", "fips-2031", "cnsa1"}},
	}
	for _, r := range rows {
		for _, name := range r.policies {
			t.Run(r.name+" under "+name, func(t *testing.T) {
				require.Equal(t, fips.Decision{Allow: true}, policy(t, name).CheckKey(r.pub, r.use, r.notAfter))
			})
		}
	}
}

func TestCheckSignatureAlgorithm(t *testing.T) {
	rows := map[x509.SignatureAlgorithm][2]string{ // codes under fips and cnsa1
		x509.UnknownSignatureAlgorithm: {"sigalg_unknown", "sigalg_unknown"},
		x509.SignatureAlgorithm(99):    {"sigalg_unknown", "sigalg_unknown"},
		x509.MD2WithRSA:                {"sigalg_md5", "sigalg_md5"},
		x509.MD5WithRSA:                {"sigalg_md5", "sigalg_md5"},
		x509.SHA1WithRSA:               {"sigalg_sha1", "sigalg_sha1"},
		x509.ECDSAWithSHA1:             {"sigalg_sha1", "sigalg_sha1"},
		x509.DSAWithSHA1:               {"sigalg_sha1", "sigalg_sha1"},
		x509.DSAWithSHA256:             {"sigalg_dsa", "sigalg_dsa"},
		x509.PureEd25519:               {"sigalg_ed25519", "sigalg_ed25519"},
		x509.SHA256WithRSA:             {"", "sigalg_hash"},
		x509.SHA256WithRSAPSS:          {"", "sigalg_hash"},
		x509.ECDSAWithSHA256:           {"", "sigalg_hash"},
		x509.SHA384WithRSA:             {"", ""},
		x509.SHA384WithRSAPSS:          {"", ""},
		x509.ECDSAWithSHA384:           {"", ""},
		x509.SHA512WithRSA:             {"", ""},
		x509.SHA512WithRSAPSS:          {"", ""},
		x509.ECDSAWithSHA512:           {"", ""},
	}
	for a, codes := range rows {
		for i, name := range []string{"fips", "cnsa1"} {
			d := policy(t, name).CheckSignatureAlgorithm(a)
			require.Equal(t, codes[i], d.Code, "%v under %s", a, name)
			require.Equal(t, codes[i] == "", d.Allow, "%v under %s", a, name)
		}
	}
}

func TestZeroPolicyRefusesEverything(t *testing.T) {
	var p fips.Policy
	for _, d := range []fips.Decision{
		p.CheckKey(ecKey(t, elliptic.P256()), fips.UseLeaf, time.Time{}),
		p.CheckSignatureAlgorithm(x509.ECDSAWithSHA256),
		p.CheckSPKI(nil),
	} {
		require.Equal(t, "policy_invalid", d.Code)
		require.False(t, d.Allow)
	}
	require.Empty(t, p.Name()+p.SHA256()+string(p.DefaultKeyType()))
	_, err := p.SchemeFor(ecKey(t, elliptic.P256()))
	require.Error(t, err)
}

// The hashes are golden: a reviewer sees that a rule changed, and so does
// whoever compares two reports.
func TestPolicyHashIsGolden(t *testing.T) {
	rows := map[string][2]string{
		"fips":      {"ecdsa-p256", "29408dc98f3f115ae866f7192be3280aff0486b5dc74e036f9915fb72064c247"},
		"fips-2031": {"ecdsa-p256", "2013e5ef1750aa5cb6c4598db044a62751b335546ad4aab1fe26d9df91f58953"},
		"cnsa1":     {"ecdsa-p384", "7c89b1316383fb8ef537b98a14e410e5b90e3ffcbf9695c88885eb243429845a"},
	}
	for name, want := range rows {
		p := policy(t, name)
		require.Equal(t, name, p.Name())
		require.Equal(t, want, [2]string{string(p.DefaultKeyType()), p.SHA256()}, name)
	}
	for _, name := range []string{"", "FIPS", "fips ", "cnsa2"} {
		_, err := fips.PolicyByName(name)
		require.Error(t, err, name)
	}
}

// Every key in a report's self-tests is public; nobody may get a certificate
// for one.
func TestCheckSPKIRefusesPublishedKeys(t *testing.T) {
	x, _ := new(big.Int).SetString("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6", 16)
	y, _ := new(big.Int).SetString("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299", 16)
	spki, err := x509.MarshalPKIXPublicKey(&ecdsa.PublicKey{Curve: elliptic.P256(), X: x, Y: y})
	require.NoError(t, err)
	require.Equal(t, "key_published", policy(t, "fips").CheckSPKI(spki).Code)
	spki, err = x509.MarshalPKIXPublicKey(ecKey(t, elliptic.P256()))
	require.NoError(t, err)
	require.True(t, policy(t, "fips").CheckSPKI(spki).Allow)
}

func BenchmarkCheckKey(b *testing.B) {
	p := policy(b, "fips")
	for name, pub := range map[string]crypto.PublicKey{
		"P-256": ecKey(b, elliptic.P256()), "RSA-2048": rsaFile(b, "rsa-2048"), "RSA-4096": rsaFile(b, "rsa-4096"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.CheckKey(pub, fips.UseLeaf, time.Time{})
			}
		})
	}
}
