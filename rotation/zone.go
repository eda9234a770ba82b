package rotation

import (
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Command tells a zone's replicas under which anchor to sign.
type Command struct {
	Zone   Zone        `json:"zone"`
	Signer ca.AnchorID `json:"signer"`
	Epoch  uint64      `json:"epoch"`
}

// Held is what one replica, or one verifier, has taken so far.
type Held struct {
	Sequence uint64      // of the bundle
	Epoch    uint64      // of the last command
	Signer   ca.AnchorID // under which it signs
}

// TakesBundle tells whether a bundle may replace the one that is held: only a higher
// sequence may, whatever cache or relay it came from (S4).
func (h Held) TakesBundle(sequence uint64) bool { return sequence > h.Sequence }

// TakesCommand tells whether a command may be followed: one that was overtaken on
// its way may not (S5). The same command again changes nothing.
func (h Held) TakesCommand(c Command) bool { return c.Epoch >= h.Epoch }

// Report is what a zone says of itself.
type Report struct {
	Zone Zone `json:"zone"`
	// Epoch is that of the last command which every replica has followed.
	Epoch uint64 `json:"epoch"`
	// Signer is the anchor under which every replica signs; zero while they differ.
	Signer ca.AnchorID `json:"signer"`
	// Sequence is that of the bundle which every replica holds.
	Sequence uint64 `json:"sequence"`
	// Coverage is the sequence that every verifier of the zone is known to hold.
	Coverage uint64 `json:"coverage"`
	// HighWater bounds the ends of the leaves that the zone has signed under each
	// anchor.
	HighWater map[ca.AnchorID]time.Time `json:"high_water,omitempty"`
	// Countable are the live leaves under each anchor, where they can be counted.
	Countable map[ca.AnchorID]int `json:"countable,omitempty"`
}

// Merge makes one report of those of a zone's replicas: it says of the zone only
// what holds of each of them, so that the slowest is the one that counts.
func Merge(replicas []Report) (Report, bool) {
	if len(replicas) == 0 {
		return Report{}, false
	}
	merged := replicas[0]
	merged.HighWater, merged.Countable = make(map[ca.AnchorID]time.Time), make(map[ca.AnchorID]int)
	for _, r := range replicas {
		merged.Epoch = min(merged.Epoch, r.Epoch)
		merged.Sequence = min(merged.Sequence, r.Sequence)
		merged.Coverage = min(merged.Coverage, r.Coverage)
		if r.Signer != merged.Signer {
			merged.Signer = ca.AnchorID{}
		}
		for anchor, end := range r.HighWater {
			if end.After(merged.HighWater[anchor]) {
				merged.HighWater[anchor] = end
			}
		}
		for anchor, n := range r.Countable {
			merged.Countable[anchor] += n
		}
	}
	return merged, true
}
