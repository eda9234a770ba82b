package simulate

// random is SplitMix64: small, fast, and the same everywhere. It draws scenarios and
// never anything that is secret.
type random struct{ state uint64 }

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below draws from 0 to n-1; n below 2 is 0.
func (r *random) below(n int) int {
	if n < 2 {
		return 0
	}
	return int(r.next() % uint64(n)) // the bias is below 2^-40
}

// happens is true with probability p.
func (r *random) happens(p float64) bool {
	return p > 0 && float64(r.next()>>11)/(1<<53) < p
}

// of draws how many of n happen with probability p each.
func (r *random) of(n int, p float64) int {
	if p <= 0 {
		return 0
	}
	if p >= 1 {
		return n
	}
	// Whole parts as they are, and the rest by lot: the mean is right, and a cohort of
	// thousands needs no thousands of draws.
	exact := float64(n) * p
	whole := int(exact)
	if whole < n && r.happens(exact-float64(whole)) {
		whole++
	}
	return whole
}
