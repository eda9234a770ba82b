package ca_test

import (
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// Web's certificate had ended when db took the key; then the clock went back, the
// server was started again, and the records name two live owners.
func TestTwoOwnersInTheRecordsStopNoStart(t *testing.T) {
	c := catest.New(t)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	web, db := c.Caller(t, "web"), c.Caller(t, "db")
	request := c.Request(t, key, "")
	for _, order := range [][2]time.Duration{{time.Hour, 2 * time.Hour}, {2 * time.Hour, time.Hour}} {
		c := catest.New(t)
		for i, caller := range []ca.Caller{web, db} {
			c.Authority.Remember(ca.LiveKey{
				KeyHash: request.KeyHash(), Identity: caller.Identity().String(), NotAfter: catest.Start.Add(order[i]),
			})
		}
		longer, shorter := db, web
		if order[0] > order[1] {
			longer, shorter = web, db
		}
		_, err := c.Authority.Issue(t.Context(), shorter, request)
		require.Equal(t, ca.ReasonKeyReused, ca.ReasonOf(err))
		_, err = c.Authority.Issue(t.Context(), longer, request)
		require.NoError(t, err)
	}
}

// What one identity can hold in memory follows from this and from its quota
// (docs/configuration.md, limits.identityRate).
func TestLiveKeyCostsAtMostAHundredBytes(t *testing.T) {
	const keys = 91_400 // of one identity in a day, by default
	authority := catest.New(t).Authority
	before := heap()
	for i := range keys {
		hash := sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i)))
		authority.Remember(ca.LiveKey{KeyHash: hash, Identity: "spiffe://cluster.local/ns/a/sa/b", NotAfter: catest.Start.Add(time.Hour)})
	}
	cost := float64(heap()-before) / keys
	require.Equal(t, keys, authority.LiveKeys())
	t.Logf("%.0f bytes for each key", cost)
	require.Greater(t, cost, 32.0, "a key and its owner have 32")
	require.LessOrEqual(t, cost, 100.0)
}

// heap is how many bytes live.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what had a finaliser
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
