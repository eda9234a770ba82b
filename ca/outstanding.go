package ca

import (
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"
)

// leafTracker counts the unexpired leaves of this replica, by anchor, by class of
// verifier and by the bundle that their holders were given. Leaves are counted by the
// minute in which they end, rounded up. Beside that it keeps 24 bytes for each live
// leaf of ClassRenewal, about 50 with the map around them, to find the leaf that
// another has taken the place of.
//
// A holder that renews by mutual TLS with leaf X is sent leaf Y and the bundle of
// that moment. Whether they arrived is known when it comes back with Y, and not
// before: an answer can be lost. From then on X holds the coverage back no more. Its
// holder is taken to be one party; a certificate that two processes share is theirs
// to copy together with the bundle.
type leafTracker struct {
	shards [64]leafShard

	mu     sync.Mutex // held after that of a shard, never before
	groups []leafGroup
	index  map[leafGroup]uint32 // position in groups; one for each bundle and anchor of this process
	counts map[leafBucket]int
	marks  map[AnchorID]int64 // Unix seconds at which the last leaf ends
	sweep  time.Time
}

type leafShard struct {
	mu     sync.Mutex
	leaves map[serialTag]trackedLeaf
	sweep  time.Time
}

// leafGroup is what leaves are counted by. Class "" are leaves that say nothing of a
// verifier: our own, and those whose holder has a later one.
type leafGroup struct {
	anchor   AnchorID
	class    VerifierClass
	sequence uint64
}

type leafBucket struct {
	group  uint32
	minute uint32 // since 1970; every leaf in it has ended by then
}

type trackedLeaf struct {
	renews serialTag // whose place it takes once it was presented; 0 if none's
	leafBucket
}

// serialTag is the last eight bytes of a serial, all of them random. Two live leaves
// of one tag are out of reach: at a million, one start in 2^24 would have them.
type serialTag uint64

// issuedLeaf is a leaf as it is counted.
type issuedLeaf struct {
	leafGroup
	tag, renews serialTag
	notAfter    time.Time
}

// countsKept is how long counts outlive their leaves: a clock that was ahead for a
// moment must not make them forgotten.
const countsKept = time.Hour

func newLeafTracker() *leafTracker {
	t := &leafTracker{index: make(map[leafGroup]uint32), counts: make(map[leafBucket]int), marks: make(map[AnchorID]int64)}
	for i := range t.shards {
		t.shards[i].leaves = make(map[serialTag]trackedLeaf)
	}
	return t
}

// add counts l, before it is signed. No tracker counts nothing, for comparison.
func (t *leafTracker) add(l issuedLeaf, now time.Time) {
	if t == nil {
		return
	}
	if l.renews != 0 {
		t.presented(l.renews)
	}
	bucket := t.count(l, now)
	if l.class != ClassRenewal || l.tag == 0 {
		return
	}
	shard := t.shard(l.tag)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.dropExpired(now)
	shard.leaves[l.tag] = trackedLeaf{renews: l.renews, leafBucket: bucket}
}

// presented notes that the holder of a leaf has shown that it has it.
func (t *leafTracker) presented(tag serialTag) {
	shard := t.shard(tag)
	shard.mu.Lock()
	leaf := shard.leaves[tag]
	earlier := leaf.renews
	if earlier != 0 {
		leaf.renews = 0
		shard.leaves[tag] = leaf
	}
	shard.mu.Unlock()
	if earlier != 0 {
		t.supersede(earlier)
	}
}

// supersede lets a leaf say nothing more of its holder. It is counted still.
func (t *leafTracker) supersede(tag serialTag) {
	shard := t.shard(tag)
	shard.mu.Lock()
	leaf, isKnown := shard.leaves[tag]
	delete(shard.leaves, tag)
	shard.mu.Unlock()
	if !isKnown {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts[leaf.leafBucket] == 0 { // dropped meanwhile
		return
	}
	t.change(leaf.leafBucket, -1)
	t.change(leafBucket{t.groupOf(leafGroup{anchor: t.groups[leaf.group].anchor}), leaf.minute}, 1)
}

func (t *leafTracker) count(l issuedLeaf, now time.Time) leafBucket {
	end := l.notAfter.Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropExpired(now)
	bucket := leafBucket{t.groupOf(l.leafGroup), uint32((end + 59) / 60)}
	t.change(bucket, 1)
	t.marks[l.anchor] = max(t.marks[l.anchor], end)
	return bucket
}

func (t *leafTracker) change(b leafBucket, by int) {
	if t.counts[b] += by; t.counts[b] == 0 {
		delete(t.counts, b)
	}
}

func (t *leafTracker) groupOf(g leafGroup) uint32 {
	at, isKnown := t.index[g]
	if !isKnown {
		at = uint32(len(t.groups))
		t.groups, t.index[g] = append(t.groups, g), at
	}
	return at
}

func (t *leafTracker) dropExpired(now time.Time) {
	if now.Before(t.sweep) {
		return
	}
	t.sweep = now.Add(sweepEvery)
	dead := now.Add(-countsKept).Unix()
	for b := range t.counts {
		if int64(b.minute)*60 <= dead {
			delete(t.counts, b)
		}
	}
	for anchor, end := range t.marks {
		if end <= dead {
			delete(t.marks, anchor)
		}
	}
}

func (s *leafShard) dropExpired(now time.Time) {
	if now.Before(s.sweep) {
		return
	}
	s.sweep = now.Add(sweepEvery)
	for tag, leaf := range s.leaves {
		if int64(leaf.minute)*60 <= now.Unix() {
			delete(s.leaves, tag)
		}
	}
}

func (t *leafTracker) shard(tag serialTag) *leafShard { return &t.shards[tag%64] }

// read is what is outstanding at now for a replica that holds bundle held.
func (t *leafTracker) read(now time.Time, held uint64) Outstanding {
	out := Outstanding{
		Coverage: map[VerifierClass]Coverage{ClassRenewal: {Sequence: held}},
		Live:     make(map[AnchorID]int), HighWater: make(map[AnchorID]time.Time),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropExpired(now)
	for b, n := range t.counts {
		end, g := time.Unix(int64(b.minute)*60, 0).UTC(), t.groups[b.group]
		if !end.After(now) {
			continue
		}
		out.Live[g.anchor] += n
		if g.class != "" {
			out.add(g, n, end, held)
		}
	}
	for anchor, mark := range t.marks {
		if end := time.Unix(mark, 0).UTC(); end.After(now) {
			out.HighWater[anchor] = end
		}
	}
	return out
}

// add takes n leaves that end by end into the coverage of their class.
func (o *Outstanding) add(g leafGroup, n int, end time.Time, held uint64) {
	c, isKnown := o.Coverage[g.class]
	if !isKnown {
		c.Sequence = held
	}
	c.Live += n
	c.Sequence = min(c.Sequence, g.sequence)
	if g.sequence < held {
		c.Behind += n
		if g.class != ClassRestart && end.After(c.Oldest) {
			c.Oldest = end
		}
	}
	o.Coverage[g.class] = c
}

// Outstanding is what this authority knows of the leaves that have not expired at
// now, by its own clock. Whatever it issues after the call is of the bundle that it
// holds now, or of a later one: requests that began before the last Swap and are not
// over count as leaves that they may still get.
func (a *Authority) Outstanding(now time.Time) Outstanding {
	// The order matters: a request first counts its leaf, and then is over.
	current, unfinished := a.unfinished()
	var held uint64
	if current.bundle != nil {
		held = current.bundle.seq
	}
	out := a.leaves.read(now, held)
	for _, u := range unfinished {
		end := now.Add(u.policy.MaxTTL()).Add(time.Minute).UTC().Truncate(time.Second)
		if last := u.intermediate.notAfter; last.Before(end) {
			end = last.UTC()
		}
		out.Live[u.intermediate.anchorID] += u.requests
		if end.After(out.HighWater[u.intermediate.anchorID]) {
			out.HighWater[u.intermediate.anchorID] = end
		}
		out.add(leafGroup{u.intermediate.anchorID, ClassRenewal, u.bundle.seq}, u.requests, end, held)
	}
	return out
}

// classOf says what a leaf of the profile tells of its holder: nothing when it is for
// this process. A profile that the policy has no more may be of either class; the one
// of which less is known is safe.
func (p *Policy) classOf(profile string, method Method) VerifierClass {
	if method == MethodLocal {
		return ""
	}
	if known := p.profiles[profile]; known != nil {
		return known.verifiers
	}
	return ClassRestart
}

// counted is p as it is counted.
func (p *prepared) counted(caller Caller) issuedLeaf {
	l := issuedLeaf{
		leafGroup: groupOf(p.snapshot.intermediate.anchorID, p.snapshot.policy.classOf(p.grant.profile.name, caller.evidence.Method), p.snapshot.bundle.seq),
		tag:       serialTag(binary.BigEndian.Uint64(p.serial[len(p.serial)-8:])), notAfter: p.notAfter,
	}
	if caller.evidence.Method == MethodCertificate {
		l.renews = tagOf(caller.evidence.Subject)
	}
	return l
}

// groupOf is the group of a new leaf. A holder that reads its anchors when it starts
// is given none with its certificate.
func groupOf(anchor AnchorID, class VerifierClass, sequence uint64) leafGroup {
	if class != ClassRenewal {
		sequence = 0
	}
	return leafGroup{anchor, class, sequence}
}

// counted is key as it is counted, under the policy in force.
func (k LiveKey) counted(p *Policy) issuedLeaf {
	return issuedLeaf{
		leafGroup: groupOf(k.Anchor, p.classOf(k.Profile, k.Method), k.BundleSeq),
		tag:       tagOf(k.Serial), renews: tagOf(k.Renews), notAfter: k.NotAfter,
	}
}

// tagOf is the tag of a serial in hex, 0 where it has none.
func tagOf(serial string) serialTag {
	var raw [8]byte
	if len(serial) < 16 {
		return 0
	}
	if _, err := hex.Decode(raw[:], []byte(serial[len(serial)-16:])); err != nil {
		return 0
	}
	return serialTag(binary.BigEndian.Uint64(raw[:]))
}
