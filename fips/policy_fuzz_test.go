package fips_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

// allowedByRestatement says again, in other words and by other means, what a
// key must be to be allowed. It may be wider than the policy (it does not look
// for structure in a modulus beyond small factors), never narrower.
func allowedByRestatement(pub crypto.PublicKey, use fips.Use, notAfter time.Time, policy string) bool {
	if e, ok := pub.(*ecdsa.PublicKey); ok {
		name := e.Curve.Params().Name
		on := e.Curve.IsOnCurve(e.X, e.Y)
		return on && (name == "P-384" || name == "P-256" && policy != "cnsa1")
	}
	r, ok := pub.(*rsa.PublicKey)
	if !ok || r.E != 1<<16+1 {
		return false
	}
	// The product of all odd numbers below 752 shares a factor with every
	// modulus that has a small one.
	product := big.NewInt(2)
	for n := int64(3); n < 752; n += 2 {
		product.Mul(product, big.NewInt(n))
	}
	if new(big.Int).GCD(nil, nil, product, r.N).Cmp(big.NewInt(1)) != 0 {
		return false
	}
	switch r.N.BitLen() {
	case 3072, 4096:
		return true
	case 2048:
		return policy == "fips" && use != fips.UseCA && notAfter.Year() < 2031
	}
	return false
}

func FuzzCheckKey(f *testing.F) {
	for _, name := range []string{"rsa-1024", "rsa-2048", "rsa-2560", "rsa-3072", "rsa-e3"} {
		der, err := x509.MarshalPKIXPublicKey(rsaFile(f, name))
		require.NoError(f, err)
		f.Add(der, uint8(1), int64(1900000000), uint8(0))
		f.Add(der, uint8(2), int64(1930000000), uint8(1))
	}
	for _, c := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		der, err := x509.MarshalPKIXPublicKey(ecKey(f, c))
		require.NoError(f, err)
		f.Add(der, uint8(1), int64(1800000000), uint8(2))
		f.Add(der, uint8(3), int64(1800000000), uint8(0))
	}
	names := []string{"fips", "fips-2031", "cnsa1"}
	f.Fuzz(func(t *testing.T, der []byte, use uint8, unix int64, policyIndex uint8) {
		// nil is what a request with an unknown algorithm gives; judge it too.
		pub, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			pub = nil
		}
		name := names[int(policyIndex)%len(names)]
		notAfter := time.Unix(unix, 0).UTC()
		d := policy(t, name).CheckKey(pub, fips.Use(use), notAfter)
		if d.Allow {
			require.True(t, allowedByRestatement(pub, fips.Use(use), notAfter, name), "%s allowed %x", name, der)
			require.Equal(t, fips.Decision{Allow: true}, d)
			return
		}
		require.NotEmpty(t, d.Code)
	})
}
