package ca

import (
	"hash/maphash"
	"sync"
	"time"
)

// keyOwners remembers which identity holds each key that has an unexpired
// certificate, so that nobody can get a certificate for another workload's key.
// It costs about 60 bytes for each live key, at most 100 where the map has just
// grown; how many one identity can have is for the quota before it to say (package
// api), because a bound here could only refuse its honest replicas for as long as
// the keys live, where a quota lets them in again at once. Keys are told apart by half of
// their SHA-256 and identities by a seeded hash: an accidental match is out of
// reach, and a forced one would need 2^64 work for a refusal.
type keyOwners struct {
	seed   maphash.Seed
	shards [64]keyShard
}

type keyShard struct {
	mu     sync.Mutex
	owners map[[16]byte]keyOwner
	sweep  time.Time // when expired entries are dropped next
}

type keyOwner struct {
	identity uint64
	notAfter int64 // Unix seconds
}

// sweepEvery is how often a shard drops what has expired.
const sweepEvery = 5 * time.Minute

func newKeyOwners() *keyOwners {
	k := &keyOwners{seed: maphash.MakeSeed()}
	for i := range k.shards {
		k.shards[i].owners = make(map[[16]byte]keyOwner)
	}
	return k
}

// claim notes that identity holds key until notAfter. It refuses a key that
// another identity holds now; the same identity may claim its key again, as
// Linkerd's proxies do at every renewal.
func (k *keyOwners) claim(key LiveKey, now time.Time) error {
	shard := &k.shards[key.KeyHash[0]%64]
	short := [16]byte(key.KeyHash[:16])
	identity := maphash.String(k.seed, key.Identity)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.dropExpired(now)
	owner, isHeld := shard.owners[short]
	if isHeld && owner.notAfter > now.Unix() && owner.identity != identity {
		return Refuse(ReasonKeyReused, "key %x has a live certificate of another identity", key.KeyHash)
	}
	notAfter := key.NotAfter.Unix()
	if isHeld && owner.identity == identity {
		notAfter = max(notAfter, owner.notAfter)
	}
	shard.owners[short] = keyOwner{identity: identity, notAfter: notAfter}
	return nil
}

// restore notes an owner that the records name, unless the key has one that lives
// longer.
func (k *keyOwners) restore(key LiveKey) {
	shard := &k.shards[key.KeyHash[0]%64]
	short := [16]byte(key.KeyHash[:16])
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if owner, isHeld := shard.owners[short]; isHeld && owner.notAfter >= key.NotAfter.Unix() {
		return
	}
	shard.owners[short] = keyOwner{identity: maphash.String(k.seed, key.Identity), notAfter: key.NotAfter.Unix()}
}

func (s *keyShard) dropExpired(now time.Time) {
	if now.Before(s.sweep) {
		return
	}
	s.sweep = now.Add(sweepEvery)
	for key, owner := range s.owners {
		if owner.notAfter <= now.Unix() {
			delete(s.owners, key)
		}
	}
}

// count is the number of keys held, expired ones that are not yet dropped included.
func (k *keyOwners) count() int {
	n := 0
	for i := range k.shards {
		k.shards[i].mu.Lock()
		n += len(k.shards[i].owners)
		k.shards[i].mu.Unlock()
	}
	return n
}
