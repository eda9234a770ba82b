package ca

// Uncount has the authority count no leaves, so that a benchmark can tell what
// counting costs.
func (a *Authority) Uncount() { a.leaves = nil }

// Count counts one leaf, and nothing else.
func (a *Authority) Count(key LiveKey) {
	a.leaves.add(key.counted(a.snapshot.Load().policy), key.NotAfter.Add(-MinLeafTTL))
}
