package storetest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
)

// Opener opens the store that dir stands for: a new one when nothing was opened
// there before, else the same again. The suite closes what it opens.
type Opener func(t testing.TB, dir string) store.Store

// childVar names the environment variable that makes a test process the victim of
// the kill test.
const childVar = "KEDGE_STORETEST_CHILD"

// Run holds the stores that open opens to the contract. The test that calls it
// has no subtests of its own around it: the kill test runs it again by name.
func Run(t *testing.T, open Opener) {
	if dir := os.Getenv(childVar); dir != "" {
		victim(t, open, dir)
		return
	}
	tests := map[string]func(*testing.T, *bench){
		"a record is whole after reopening":                     recordIsDurable,
		"a void is kept and changes nothing else":               voidIsKept,
		"a serial is recorded once":                             serialOnce,
		"a record that cannot be kept is refused":               recordRefused,
		"an ended context records nothing":                      contextEnded,
		"every query finds what it should":                      queries,
		"records can be read in pages":                          pages,
		"ten thousand records of many writers are all there":    manyWriters,
		"live keys are those of unexpired released records":     liveKeys,
		"events are kept in order":                              events,
		"state is empty, then what was stored":                  stateRoundTrip,
		"state is not replaced over another version":            stateStale,
		"of many replacements of one version one wins":          stateRace,
		"a join token is used once":                             tokenOnce,
		"a join token that is returned is used once more":       tokenReturned,
		"of many users of a token one wins":                     tokenRace,
		"a join token that cannot be is refused":                tokenRefused,
		"join tokens are deleted once they have expired":        tokenDeleted,
		"a closed store does nothing":                           closed,
		"what was acknowledged survives kill -9, at any moment": survivesKill,
	}
	for name, test := range documentTests() {
		tests[name] = withDocuments(test)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test(t, &bench{open: open, dir: t.TempDir()})
		})
	}
}

// bench is one test's store.
type bench struct {
	open   Opener
	dir    string
	opened store.Store
}

// store opens the store, or opens it again after closing it.
func (b *bench) store(t *testing.T) store.Store {
	t.Helper()
	if b.opened != nil {
		require.NoError(t, b.opened.Close())
	}
	s := b.open(t, b.dir)
	b.opened = s
	t.Cleanup(func() { require.NoError(t, s.Close()) }) // closing twice is allowed
	return s
}

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// record is the n-th record of a varied population.
func record(n int) ca.Record {
	methods := []ca.Method{ca.MethodKubernetes, ca.MethodCertificate, ca.MethodOIDC}
	return ca.Record{
		Serial:   fmt.Sprintf("%02x%036x", 1+n%120, n),
		Identity: fmt.Sprintf("spiffe://cluster.local/ns/team-%d/sa/app-%d", n%7, n%30),
		Evidence: ca.Evidence{
			Method: methods[n%3], Issuer: "https://issuer.example", Subject: fmt.Sprintf("system:serviceaccount:team:app-%d", n),
			Cluster: fmt.Sprintf("cluster-%d", n%2), Pod: "pod/uid", Node: "node/uid", TokenHash: strings.Repeat("5a", 32), Peer: "10.0.0.1:4711",
		},
		Profile: "mesh", KeyHash: [32]byte{1, byte(n >> 8), byte(n)}, TBSHash: [32]byte{2, byte(n >> 8), byte(n)},
		Issuer: strings.Repeat("0b", 20), Anchor: ca.AnchorID{3}, BundleSeq: uint64(n%3 + 1),
		IssuedAt: start.Add(time.Duration(n) * time.Second), NotBefore: start.Add(time.Duration(n)*time.Second - time.Minute),
		NotAfter: start.Add(time.Duration(n)*time.Second + time.Hour), RequestID: fmt.Sprintf("req-%d", n),
	}
}

// intend records the records numbered from to before to, and returns them as the
// store should give them back.
func intend(t *testing.T, s store.Store, from, to int) []ca.Record {
	t.Helper()
	var want []ca.Record
	for n := from; n < to; n++ {
		r := record(n)
		require.NoError(t, s.Intend(t.Context(), r))
		r.Seq = uint64(n - from + 1)
		want = append(want, r)
	}
	return want
}

// all reads every record in pages and proves that the log as a whole is sound:
// positions only grow, no serial stands twice, and its hashes, if it has any, fit.
func all(t *testing.T, s store.Store) map[string]ca.Record {
	t.Helper()
	found := make(map[string]ca.Record)
	var last uint64
	for {
		page, err := s.Records(t.Context(), ca.Query{AfterSeq: last, Limit: 1000})
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			require.Greater(t, r.Seq, last)
			_, twice := found[r.Serial]
			require.False(t, twice, "serial %s", r.Serial)
			last = r.Seq
			found[r.Serial] = r
		}
	}
	if v, ok := s.(store.Verifier); ok {
		n, err := v.Verify(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, len(found), n)
	}
	return found
}

func requireReason(t *testing.T, want ca.Reason, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, ca.ReasonOf(err), "%v", err)
}

func sorted(records map[string]ca.Record) []ca.Record {
	return slices.SortedFunc(maps.Values(records), func(a, b ca.Record) int { return int(a.Seq) - int(b.Seq) })
}
