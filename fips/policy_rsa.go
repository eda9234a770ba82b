package fips

import "math/big"

// fermatRounds is how many steps of Fermat's factorisation are tried. Primes
// chosen at random differ by far more; a hundred steps find every pair made by
// "the next prime after p", the mistake seen in the field (CVE-2022-26320).
const fermatRounds = 100

// checkModulus refuses moduli that are known to be weak whatever their size.
// FIPS 186-5 §A.1 rules them out at generation; from outside only these can be
// seen: an even number, a small factor, the ROCA structure, close primes.
func checkModulus(n *big.Int) Decision {
	const standard = "FIPS 186-5 §A.1"
	if n.Bit(0) == 0 {
		return refuse("key_rsa_modulus_even", standard, "even RSA modulus")
	}
	residues := smallResidues(n)
	for i, p := range smallPrimes {
		if residues[i] == 0 {
			return refuse("key_rsa_small_factor", standard, big.NewInt(int64(p)).String()+" divides the RSA modulus")
		}
	}
	if hasROCA(residues) {
		return refuse("key_rsa_roca", "CVE-2017-15361", "RSA modulus with the structure of an Infineon library")
	}
	if hasClosePrimes(n) {
		return refuse("key_rsa_close_primes", standard, "the primes of the RSA modulus lie too close together")
	}
	return Decision{Allow: true}
}

// smallPrimes are the odd primes below 752, the bound CA software agreed on.
// ROCA shows in the first rocaPrimes of them, up to 167.
var smallPrimes = oddPrimesBelow(752)

const rocaPrimes = 38

func oddPrimesBelow(limit uint32) []uint32 {
	var primes []uint32
next:
	for n := uint32(3); n < limit; n += 2 {
		for _, p := range primes {
			if n%p == 0 {
				continue next
			}
		}
		primes = append(primes, n)
	}
	return primes
}

// smallResidues returns n modulo every small prime. It walks the words of n
// once for each prime, without allocating a big.Int.
func smallResidues(n *big.Int) []uint32 {
	words := n.Bits()
	residues := make([]uint32, len(smallPrimes))
	for i, p := range smallPrimes {
		m := uint64(p)
		var r uint64
		for j := len(words) - 1; j >= 0; j-- {
			w := uint64(words[j])
			// r < p < 2^10, so each half-word step fits in 64 bits.
			r = (r<<32 | w>>32) % m
			r = (r<<32 | w&0xffffffff) % m
		}
		residues[i] = uint32(r)
	}
	return residues
}

// hasROCA reports the fingerprint of CVE-2017-15361 (Nemec and others, CCS
// 2017, §3): the modulus is a power of 65537 modulo every small prime. A good
// modulus passes for one with a probability below 2^-27.
func hasROCA(residues []uint32) bool {
	for i, p := range smallPrimes[:rocaPrimes] {
		if !isPowerOf65537(residues[i], p) {
			return false
		}
	}
	return true
}

func isPowerOf65537(r, p uint32) bool {
	g := 65537 % p
	for x := uint32(1); ; {
		if x == r {
			return true
		}
		if x = x * g % p; x == 1 {
			return false
		}
	}
}

// hasClosePrimes tries Fermat's factorisation: n = a² - b² for some a just
// above the root of n.
func hasClosePrimes(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(a, a).Cmp(n) < 0 {
		a.Add(a, big.NewInt(1))
	}
	b2 := new(big.Int).Mul(a, a)
	b2.Sub(b2, n)
	// (a+1)² - n is a² - n + 2a + 1.
	step := new(big.Int).Lsh(a, 1)
	step.Add(step, big.NewInt(1))
	two := big.NewInt(2)
	for range fermatRounds {
		if isSquare(b2) {
			return true
		}
		b2.Add(b2, step)
		step.Add(step, two)
	}
	return false
}

// isSquare tests the low bits first: five of six non-squares end there.
func isSquare(n *big.Int) bool {
	if n.Sign() == 0 {
		return true
	}
	const squaresMod64 uint64 = 1<<0 | 1<<1 | 1<<4 | 1<<9 | 1<<16 | 1<<17 | 1<<25 | 1<<33 | 1<<36 | 1<<41 | 1<<49 | 1<<57
	if squaresMod64>>(uint64(n.Bits()[0])&63)&1 == 0 {
		return false
	}
	r := new(big.Int).Sqrt(n)
	return r.Mul(r, r).Cmp(n) == 0
}
