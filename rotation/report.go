package rotation

import (
	"cmp"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Zone is the name of a zone.
type Zone string

// Command tells a zone's replicas under which anchor to sign.
type Command struct {
	Zone Zone `json:"zone"`
	ca.Command
}

// Report is what one replica says of itself, or, made by Merge, a zone.
type Report struct {
	Zone    Zone   `json:"zone"`
	Replica string `json:"replica"`        // "" in a report of a zone
	Plan    string `json:"plan,omitempty"` // id of the last plan that it heard of; for people, it proves nothing
	// Epoch is that of the last command which it has followed.
	Epoch uint64 `json:"epoch"`
	// Signer is the anchor under which it signs; zero while the replicas differ.
	Signer ca.AnchorID `json:"signer"`
	// Sequence is that of the bundle which it holds.
	Sequence   uint64 `json:"sequence"`
	BundleHash string `json:"bundle_hash,omitempty"` // "" while the replicas differ
	// Coverage is what is known of the verifiers, by class; a class that is missing
	// has none.
	Coverage map[ca.VerifierClass]ca.Coverage `json:"coverage,omitempty"`
	// Live are the unexpired leaves under each anchor.
	Live map[ca.AnchorID]int `json:"live,omitempty"`
	// HighWater bounds the ends of the leaves under each anchor, those included that are
	// being signed.
	HighWater map[ca.AnchorID]time.Time `json:"high_water,omitempty"`
	// Lease is when the last intermediate ends, and with it every leaf that can still
	// be signed.
	Lease   time.Time `json:"lease,omitzero"`
	Clock   time.Time `json:"clock,omitzero"` // when it was made, by the replica's own clock
	Version string    `json:"version,omitempty"`
	Halted  string    `json:"halted,omitempty"` // why nothing is issued
	// Canary tells of the handshakes with a canary under an anchor: "" when all went
	// well, else why one failed; an anchor that is missing was not tried.
	Canary map[ca.AnchorID]string `json:"canary,omitempty"`
	// Received is when it came, by the primary's clock. Zero in what a replica sends; in
	// what the primary keeps it means that the replica has never reported.
	Received time.Time `json:"received,omitzero"`
	// Removed is set by the primary: the replica is gone. What it has signed, or can
	// sign until its Lease, counts, and so do the verifiers that it served. Where somebody
	// vouches that it signs no more, Lease may be the end of its last leaf instead.
	Removed bool `json:"removed,omitempty"`
}

// Merge makes one report of those of a zone's replicas: it says of the zone only
// what holds of each of them, so that the slowest is the one that counts. Of those
// that were removed only the leaves count.
func Merge(replicas []Report) (Report, bool) {
	merged, found := Report{}, false
	for _, r := range replicas {
		if r.Removed {
			continue
		}
		if !found {
			merged, found = r, true
			merged.Replica = ""
			merged.Coverage, merged.Canary = map[ca.VerifierClass]ca.Coverage{}, map[ca.AnchorID]string{}
			merged.Live, merged.HighWater = map[ca.AnchorID]int{}, map[ca.AnchorID]time.Time{}
		}
		merged.lower(r)
	}
	if !found {
		return Report{}, false
	}
	for _, r := range replicas {
		merged.count(r)
	}
	return merged, true
}

// lower makes r say no more than one does as well.
func (r *Report) lower(one Report) {
	r.Epoch, r.Sequence = min(r.Epoch, one.Epoch), min(r.Sequence, one.Sequence)
	if one.Signer != r.Signer {
		r.Signer = ca.AnchorID{}
	}
	if one.BundleHash != r.BundleHash {
		r.BundleHash = ""
	}
	if one.Received.Before(r.Received) {
		r.Received, r.Clock = one.Received, one.Clock
	}
	r.Version, r.Halted = min(r.Version, one.Version), cmp.Or(r.Halted, one.Halted)
	for class, c := range one.Coverage {
		have, known := r.Coverage[class]
		if !known {
			have.Sequence = c.Sequence
		}
		have.Sequence = min(have.Sequence, c.Sequence)
		have.Live, have.Behind = have.Live+c.Live, have.Behind+c.Behind
		have.Oldest = later(have.Oldest, c.Oldest)
		r.Coverage[class] = have
	}
	for anchor, failure := range one.Canary {
		r.Canary[anchor] = cmp.Or(r.Canary[anchor], failure)
	}
}

// count adds the leaves of one.
func (r *Report) count(one Report) {
	r.Lease = later(r.Lease, one.Lease)
	for anchor, end := range one.HighWater {
		r.HighWater[anchor] = later(r.HighWater[anchor], end)
	}
	for anchor, n := range one.Live {
		r.Live[anchor] += n
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// byReplica puts reports in the order in which they are named to people.
func byReplica(reports []Report) {
	slices.SortStableFunc(reports, func(a, b Report) int { return cmp.Compare(a.Replica, b.Replica) })
}
