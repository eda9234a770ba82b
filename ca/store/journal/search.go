package journal

import (
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Search is a prepared query.
type Search struct {
	query ca.Query
	keys  []uint64
}

// NewSearch prepares q.
func NewSearch(q ca.Query) *Search {
	s := &Search{query: q}
	add := func(kind byte, value string) {
		if value != "" {
			s.keys = append(s.keys, hash(kind, value))
		}
	}
	add(keySerial, q.Serial)
	add(keyMethod, string(q.Method))
	add(keyCluster, q.Cluster)
	switch {
	case !isPrefix(q.Identity):
		add(keyIdentity, q.Identity)
	case len(q.Identity) > len(scheme): // shorter prefixes are in no filter
		add(keyPrefix, q.Identity)
	}
	return s
}

// isPrefix tells a prefix from an exact identity, which never ends in a slash
// (SPIFFE-ID §2.2).
func isPrefix(identity string) bool { return strings.HasSuffix(identity, "/") }

// MayMatch tells whether a record of the segment can match. It never says no
// where one does.
func (s *Search) MayMatch(g *Segment) bool {
	if g.Last <= s.query.AfterSeq {
		return false
	}
	if !s.query.Since.IsZero() && g.IssuedMax < s.query.Since.UnixMicro() {
		return false
	}
	if !s.query.Until.IsZero() && g.IssuedMin > s.query.Until.UnixMicro() {
		return false
	}
	for _, key := range s.keys {
		if !g.has(key) {
			return false
		}
	}
	return true
}

// Matches tells whether r is selected.
func (s *Search) Matches(r *ca.Record) bool {
	q := &s.query
	switch {
	case r.Seq <= q.AfterSeq,
		q.Serial != "" && r.Serial != q.Serial,
		q.Method != "" && r.Evidence.Method != q.Method,
		q.Cluster != "" && r.Evidence.Cluster != q.Cluster,
		!q.Since.IsZero() && r.IssuedAt.Before(q.Since),
		!q.Until.IsZero() && !r.IssuedAt.Before(q.Until),
		!matchesIdentity(q.Identity, r.Identity):
		return false
	}
	return true
}

func matchesIdentity(asked, identity string) bool {
	if isPrefix(asked) {
		return strings.HasPrefix(identity, asked)
	}
	return asked == "" || asked == identity
}

// MayBeLive tells whether the segment can hold a record that is valid after now.
func (s *Segment) MayBeLive(now time.Time) bool { return s.NotAfterMax > now.UnixMicro() }
