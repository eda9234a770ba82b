package fips_test

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

func rsaKey(n *big.Int) *rsa.PublicKey { return &rsa.PublicKey{N: n, E: 65537} }

func prime(t testing.TB, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	require.NoError(t, err)
	return p
}

// withFactor returns an odd number of 2048 bits that f divides.
func withFactor(t testing.TB, f int64) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(3), 2046)
	n.Sub(n, new(big.Int).Mod(n, big.NewInt(f)))
	if n.Bit(0) == 0 {
		n.Sub(n, big.NewInt(f))
	}
	require.Equal(t, 2048, n.BitLen())
	return n
}

// oddPrimesTo returns the odd primes up to limit.
func oddPrimesTo(limit int64) []int64 {
	var list []int64
	for n := int64(3); n <= limit; n += 2 {
		if big.NewInt(n).ProbablyPrime(10) {
			list = append(list, n)
		}
	}
	return list
}

// rocaModulus returns a number of 2048 bits that is a power of 65537 modulo
// every prime up to 167 and has no factor below 752.
func rocaModulus(t testing.TB) *big.Int {
	m := big.NewInt(1)
	for _, p := range oddPrimesTo(167) {
		m.Mul(m, big.NewInt(p))
	}
	// 2 joins the modulus so that the sum stays odd.
	m.Mul(m, big.NewInt(2))
	g := new(big.Int).Exp(big.NewInt(65537), big.NewInt(123456789), m)
	n := new(big.Int).Lsh(big.NewInt(3), 2046)
	n.Sub(n, new(big.Int).Mod(n, m))
	n.Add(n, g)
	for {
		n.Sub(n, m)
		clean := true
		for _, p := range oddPrimesTo(752) {
			clean = clean && new(big.Int).Mod(n, big.NewInt(p)).Sign() != 0
		}
		if clean {
			require.Equal(t, 2048, n.BitLen())
			return n
		}
	}
}

// closePrimes returns p times the next prime after p.
func closePrimes(t testing.TB) *big.Int {
	for {
		p := prime(t, 1024)
		q := new(big.Int).Add(p, big.NewInt(2))
		for !q.ProbablyPrime(10) {
			q.Add(q, big.NewInt(2))
		}
		if n := new(big.Int).Mul(p, q); n.BitLen() == 2048 {
			return n
		}
	}
}

func equalPrimes(t testing.TB) *big.Int {
	p := prime(t, 1024)
	return new(big.Int).Mul(p, p)
}

// Good keys must pass: a false alarm of one in a thousand would be noticed by
// some user every day.
func TestWeakKeyChecksPassGoodModuli(t *testing.T) {
	p := policy(t, "fips")
	primes := make([]*big.Int, 24)
	for i := range primes {
		primes[i] = prime(t, 1024)
	}
	for i, a := range primes {
		for _, b := range primes[:i] {
			n := new(big.Int).Mul(a, b)
			require.Equal(t, 2048, n.BitLen())
			d := p.CheckKey(rsaKey(n), fips.UseLeaf, time.Time{})
			require.True(t, d.Allow, "%v: %x", d, n)
		}
	}
}
