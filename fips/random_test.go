package fips_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

func TestSerialsArePositiveMinimalAndDifferent(t *testing.T) {
	seen := map[string]bool{}
	ones := make([]int, 160)
	const count = 4000
	for range count {
		s, err := fips.NewSerial()
		require.NoError(t, err)
		require.Len(t, s, 20)
		n := new(big.Int).SetBytes(s)
		der, err := asn1.Marshal(n)
		require.NoError(t, err)
		require.Equal(t, s, der[2:], "not the content of a minimal, positive INTEGER")
		require.False(t, seen[string(s)])
		seen[string(s)] = true
		for i := range ones {
			ones[i] += int(n.Bit(i))
		}
	}
	// Each of the 159 bits is one about half of the time; six standard
	// deviations make a false alarm once in a few million runs.
	for i, n := range ones[:159] {
		require.InDelta(t, count/2, n, 6*32, "bit %d", i)
	}
	require.Zero(t, ones[159])
}

func TestRandomFillsTheWholeSlice(t *testing.T) {
	b := make([]byte, 64)
	require.NoError(t, fips.Random(b))
	require.NotEqual(t, make([]byte, 32), b[32:])
	require.NoError(t, fips.Random(nil))
}

// crypto/x509 makes the same identifier since Go 1.25, when asked for none.
func TestKeyIDAgreesWithX509(t *testing.T) {
	for _, k := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA2048} {
		s := key(t, k)
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
			NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0)}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, s.Public(), s)
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		id, err := fips.KeyIDFromSPKI(cert.RawSubjectPublicKeyInfo)
		require.NoError(t, err)
		require.Equal(t, cert.SubjectKeyId, id)
		id, err = fips.KeyID(s.Public())
		require.NoError(t, err)
		require.Equal(t, cert.SubjectKeyId, id)
	}
}

func TestKeyIDRefusesMalformedInput(t *testing.T) {
	spki, err := x509.MarshalPKIXPublicKey(ecKey(t, elliptic.P256()))
	require.NoError(t, err)
	for _, bad := range [][]byte{nil, {}, {0x30, 0}, spki[:len(spki)-1], append(spki[:len(spki):len(spki)], 0), spki[2:]} {
		_, err := fips.KeyIDFromSPKI(bad)
		require.Error(t, err, "%x", bad)
	}
	_, err = fips.KeyID(nil)
	require.Error(t, err)
}
