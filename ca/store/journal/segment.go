package journal

import (
	"fmt"
	"math"

	"github.com/kedge-ca/kedge/ca"
)

const (
	// SegmentLen is how many records make a segment, at least.
	SegmentLen = 1024
	// FilterLen is the length of a segment's filter in bytes. A segment has up to
	// about 2 500 distinct keys (serials, identities and what these are under), so
	// that some 10 bits and 6 probes for each miss once in a hundred.
	FilterLen = 3072
	probes    = 6
)

// Segment sums up a run of consecutive records: bounds of their times, and a
// Bloom filter over everything that a query can ask for. A search reads the
// segments first and only those records that can match.
//
// This stands in for indexes. A serial is random, so an index on it costs a page
// written and synced for every record: three times what the record itself costs.
// A segment costs three bytes for a record and is written once.
type Segment struct {
	First, Last          uint64 // Seq of its first and last record; First 0 means empty
	IssuedMin, IssuedMax int64  // IssuedAt, microseconds since 1970
	NotAfterMax          int64  // NotAfter, microseconds since 1970
	Filter               []byte
}

// NewSegment makes an empty segment.
func NewSegment() *Segment {
	return &Segment{
		IssuedMin: math.MaxInt64, IssuedMax: math.MinInt64, NotAfterMax: math.MinInt64,
		Filter: make([]byte, FilterLen),
	}
}

// Len is the number of records in s.
func (s *Segment) Len() uint64 {
	if s.First == 0 {
		return 0
	}
	return s.Last - s.First + 1
}

// IsFull tells whether s has to be stored and a new one begun.
func (s *Segment) IsFull() bool { return s.Len() >= SegmentLen }

// Summary is what a segment takes from one record. It is made where the record is
// made, so that the one goroutine that writes has less to do.
type Summary struct {
	issued, notAfter int64    // microseconds since 1970
	keys             []uint64 // hashes of everything a query can ask for
}

// Set makes s the summary of r, using its memory again.
func (s *Summary) Set(r *ca.Record) {
	s.issued, s.notAfter = r.IssuedAt.UnixMicro(), r.NotAfter.UnixMicro()
	s.keys = append(s.keys[:0],
		hash(keySerial, r.Serial), hash(keyMethod, string(r.Evidence.Method)),
		hash(keyCluster, r.Evidence.Cluster), hash(keyIdentity, r.Identity))
	for i := len(scheme); i < len(r.Identity); i++ {
		if r.Identity[i] == '/' {
			s.keys = append(s.keys, hash(keyPrefix, r.Identity[:i+1]))
		}
	}
}

// Add adds the next record.
func (s *Segment) Add(seq uint64, r *Summary) {
	if s.First == 0 {
		s.First = seq
	}
	s.Last = seq
	s.IssuedMin = min(s.IssuedMin, r.issued)
	s.IssuedMax = max(s.IssuedMax, r.issued)
	s.NotAfterMax = max(s.NotAfterMax, r.notAfter)
	for _, key := range r.keys {
		s.set(key)
	}
}

// Check refuses a stored segment that cannot be right.
func (s *Segment) Check() error {
	if s.First == 0 || s.Last < s.First || len(s.Filter) != FilterLen {
		return fmt.Errorf("segment of records %d to %d is damaged", s.First, s.Last)
	}
	return nil
}

func (s *Segment) set(h uint64) {
	for i := range uint32(probes) {
		bit := probe(h, i)
		s.Filter[bit/8] |= 1 << (bit % 8)
	}
}

func (s *Segment) has(h uint64) bool {
	for i := range uint32(probes) {
		bit := probe(h, i)
		if s.Filter[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// probe is the i-th bit of a key: double hashing over the halves of its hash.
func probe(h uint64, i uint32) uint64 {
	x := uint32(h) + i*(uint32(h>>32)|1)
	return uint64(x) * (FilterLen * 8) >> 32
}

// The kinds of key in a filter.
const (
	keySerial   = 's'
	keyIdentity = 'i'
	keyPrefix   = 'p'
	keyMethod   = 'm'
	keyCluster  = 'c'
)

// scheme begins every identity; no query can ask for less.
const scheme = "spiffe://"

// hash is FNV-1a over kind and s, mixed so that all of its bits are good
// (finaliser of MurmurHash3). It is stored, so it can never change.
func hash(kind byte, s string) uint64 {
	const prime = 1099511628211
	h := (uint64(14695981039346656037) ^ uint64(kind)) * prime
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * prime
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
