package journal

// RecentLen is how many serials a Recent remembers.
const RecentLen = 4096

// Recent remembers the serials of the last records. It belongs to one goroutine.
type Recent struct {
	serials map[string]struct{}
	ring    []string
	next    int
}

// NewRecent makes a Recent that remembers nothing yet.
func NewRecent() *Recent {
	return &Recent{serials: make(map[string]struct{}, RecentLen), ring: make([]string, RecentLen)}
}

// Has tells whether serial is among the last ones.
func (r *Recent) Has(serial string) bool {
	_, ok := r.serials[serial]
	return ok
}

// Add remembers serial and forgets the oldest.
func (r *Recent) Add(serial string) {
	delete(r.serials, r.ring[r.next])
	r.ring[r.next] = serial
	r.serials[serial] = struct{}{}
	r.next = (r.next + 1) % RecentLen
}
