package storetest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
)

func state(seq uint64) ca.State {
	return ca.State{
		TrustDomain: "cluster.local", BundleSeq: seq,
		Anchors: []ca.StateAnchor{{Certificate: []byte{1, 2, 3}, Slot: ca.SlotActive}, {Certificate: []byte{4}, Slot: ca.SlotStandby}},
		Intermediates: []ca.StateIntermediate{{
			KeyName: "int-1", Chain: [][]byte{{5, 6}, {7}}, CreatedAt: start, RetiredAt: start.Add(time.Hour),
		}},
		PendingKey: "int-2",
	}
}

func stateRoundTrip(t *testing.T, b *bench) {
	s := b.store(t)
	got, version, err := s.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, ca.State{}, got)
	require.Equal(t, ca.Version(0), version)

	for seq := range uint64(3) {
		next, err := s.Replace(t.Context(), version, state(seq))
		require.NoError(t, err)
		require.Greater(t, next, version)
		version = next
		for range 2 {
			got, stored, err := s.Load(t.Context())
			require.NoError(t, err)
			require.Equal(t, state(seq), got)
			require.Equal(t, version, stored)
			s = b.store(t)
		}
	}
}

func stateStale(t *testing.T, b *bench) {
	s := b.store(t)
	_, err := s.Replace(t.Context(), 1, state(1))
	requireReason(t, ca.ReasonStale, err)
	_, version, err := s.Load(t.Context())
	require.NoError(t, err)
	require.Zero(t, version, "nothing was written")

	first, err := s.Replace(t.Context(), 0, state(1))
	require.NoError(t, err)
	second, err := s.Replace(t.Context(), first, state(2))
	require.NoError(t, err)
	for _, old := range []ca.Version{0, first, second + 1, ^ca.Version(0)} {
		_, err := s.Replace(t.Context(), old, state(3))
		requireReason(t, ca.ReasonStale, err)
	}
	got, version, err := s.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, second, version)
	require.Equal(t, state(2), got)
}

func stateRace(t *testing.T, b *bench) {
	s := b.store(t)
	version := ca.Version(0)
	for round := range uint64(5) {
		var winner atomic.Uint64 // its version
		var stored atomic.Uint64 // its sequence
		var group sync.WaitGroup
		for i := range uint64(16) {
			group.Go(func() {
				seq := round*100 + i
				next, err := s.Replace(t.Context(), version, state(seq))
				if err != nil {
					if ca.ReasonOf(err) != ca.ReasonStale {
						t.Errorf("a loser has %v", err)
					}
					return
				}
				if !winner.CompareAndSwap(0, uint64(next)) {
					t.Error("two replacements of one version won")
				}
				stored.Store(seq)
			})
		}
		group.Wait()
		got, next, err := s.Load(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, winner.Load(), next)
		require.Equal(t, state(stored.Load()), got)
		version = next
	}
}

func events(t *testing.T, b *bench) {
	s := b.store(t)
	var want []ca.Event
	for n := range 120 {
		e := ca.Event{
			At: start.Add(time.Duration(n) * time.Millisecond), Actor: "uid:0", Action: fmt.Sprintf("test.%d", n),
			Detail: map[string]string{"b": "\"<é>\"", "a": fmt.Sprint(n)},
		}
		if n%2 == 1 {
			e.Detail = nil
		}
		require.NoError(t, s.Append(t.Context(), e))
		e.Seq = uint64(n + 1)
		want = append(want, e)
	}
	require.Error(t, s.Append(t.Context(), ca.Event{At: start, Actor: "system"}), "without an action")
	require.Error(t, s.Append(t.Context(), ca.Event{At: start, Action: "x"}), "without an actor")
	require.Error(t, s.Append(t.Context(), ca.Event{Actor: "a", Action: "b", Detail: map[string]string{"c": strings.Repeat("x", 1<<20)}}))
	newest := slices.Clone(want)
	slices.Reverse(newest)
	for range 2 {
		for name, row := range map[string]struct {
			after  uint64
			newest bool
			limit  int
			want   []ca.Event
		}{
			"no limit means 100":  {0, false, 0, want[:100]},
			"all":                 {0, false, 1000, want},
			"after":               {117, false, 0, want[117:]},
			"after the last":      {120, false, 0, nil},
			"newest first":        {0, true, 3, newest[:3]},
			"newest first, after": {118, true, 0, newest[:2]},
		} {
			got, err := s.Events(t.Context(), row.after, row.newest, row.limit)
			require.NoError(t, err)
			require.Equal(t, row.want, got, name)
		}
		s = b.store(t)
	}
	require.Empty(t, all(t, s), "events are no records, and the log is sound")
}

// token is the stored form of the token that is called secret.
func token(secret string) ca.JoinToken {
	identity, err := ca.ParseIdentity("spiffe://cluster.local/host/" + secret)
	if err != nil {
		panic(err) // a mistake in this suite
	}
	return ca.JoinToken{
		Hash: sha256.Sum256([]byte(secret)), Identity: identity, ExpiresAt: start.Add(time.Hour), CreatedBy: "uid:0",
	}
}

func tokenOnce(t *testing.T, b *bench) {
	s := b.store(t)
	one, two, late := token("one"), token("two"), token("late")
	for _, created := range []ca.JoinToken{one, two, late} {
		require.NoError(t, s.CreateJoinToken(t.Context(), created))
	}
	s = b.store(t)
	got, err := s.UseJoinToken(t.Context(), one.Hash, start)
	require.NoError(t, err)
	require.Equal(t, one, got)
	_, err = s.UseJoinToken(t.Context(), late.Hash, late.ExpiresAt)
	requireReason(t, ca.ReasonTokenExpired, err)
	_, err = s.UseJoinToken(t.Context(), token("unknown").Hash, start)
	requireReason(t, ca.ReasonTokenKeyUnknown, err)
	for range 2 {
		_, err = s.UseJoinToken(t.Context(), one.Hash, start)
		requireReason(t, ca.ReasonTokenUsed, err)
		s = b.store(t)
	}
	got, err = s.UseJoinToken(t.Context(), late.Hash, late.ExpiresAt.Add(-time.Microsecond))
	require.NoError(t, err, "refusing it too late did not spend it")
	require.Equal(t, late, got)
	_, err = s.UseJoinToken(t.Context(), late.Hash, late.ExpiresAt)
	requireReason(t, ca.ReasonTokenUsed, err)
	got, err = s.UseJoinToken(t.Context(), two.Hash, start)
	require.NoError(t, err, "the other token is untouched")
	require.Equal(t, two, got)
}

func tokenReturned(t *testing.T, b *bench) {
	s := b.store(t)
	one, two := token("one"), token("two")
	for _, created := range []ca.JoinToken{one, two} {
		require.NoError(t, s.CreateJoinToken(t.Context(), created))
		_, err := s.UseJoinToken(t.Context(), created.Hash, start)
		require.NoError(t, err)
	}
	for _, hash := range [][32]byte{one.Hash, token("unknown").Hash} {
		require.NoError(t, s.ReturnJoinToken(t.Context(), hash))
	}
	s = b.store(t)
	_, err := s.UseJoinToken(t.Context(), one.Hash, one.ExpiresAt)
	requireReason(t, ca.ReasonTokenExpired, err)
	got, err := s.UseJoinToken(t.Context(), one.Hash, start)
	require.NoError(t, err)
	require.Equal(t, one, got)
	for hash, reason := range map[[32]byte]ca.Reason{
		one.Hash: ca.ReasonTokenUsed, two.Hash: ca.ReasonTokenUsed, token("unknown").Hash: ca.ReasonTokenKeyUnknown,
	} {
		_, err = s.UseJoinToken(t.Context(), hash, start)
		requireReason(t, reason, err)
	}
}

func tokenRace(t *testing.T, b *bench) {
	s := b.store(t)
	for round := range 5 {
		created := token(fmt.Sprint("race-", round))
		require.NoError(t, s.CreateJoinToken(t.Context(), created))
		var users atomic.Int32
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				_, err := s.UseJoinToken(t.Context(), created.Hash, start)
				if err == nil {
					users.Add(1)
				} else if ca.ReasonOf(err) != ca.ReasonTokenUsed {
					t.Errorf("a loser has %v", err)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, users.Load())
	}
}

func tokenRefused(t *testing.T, b *bench) {
	s := b.store(t)
	require.NoError(t, s.CreateJoinToken(t.Context(), token("one")))
	for name, spoil := range map[string]func(*ca.JoinToken){
		"a hash that exists": func(*ca.JoinToken) {},
		"no identity":        func(t *ca.JoinToken) { t.Hash[0]++; t.Identity = ca.Identity{} },
		"no end":             func(t *ca.JoinToken) { t.Hash[0]++; t.ExpiresAt = time.Time{} },
		"no creator":         func(t *ca.JoinToken) { t.Hash[0]++; t.CreatedBy = "" },
	} {
		spoiled := token("one")
		spoil(&spoiled)
		require.Error(t, s.CreateJoinToken(t.Context(), spoiled), name)
	}
	got, err := s.UseJoinToken(t.Context(), token("one").Hash, start)
	require.NoError(t, err, "and the store goes on")
	require.Equal(t, token("one"), got)
}

func tokenDeleted(t *testing.T, b *bench) {
	s := b.store(t)
	deleted, err := s.DeleteJoinTokens(t.Context(), start)
	require.NoError(t, err)
	require.Zero(t, deleted)

	spent, gone, kept := token("spent"), token("gone"), token("kept")
	kept.ExpiresAt = kept.ExpiresAt.Add(time.Microsecond)
	for _, created := range []ca.JoinToken{spent, gone, kept} {
		require.NoError(t, s.CreateJoinToken(t.Context(), created))
	}
	const many = 1001 // more than a store may delete at a time
	for n := range many {
		more := token(fmt.Sprint("more-", n))
		more.ExpiresAt = start.Add(-time.Hour)
		require.NoError(t, s.CreateJoinToken(t.Context(), more))
	}
	_, err = s.UseJoinToken(t.Context(), spent.Hash, start)
	require.NoError(t, err)

	for _, row := range []struct {
		before time.Time
		want   int
	}{{start.Add(-time.Hour), 0}, {start, many}, {start, 0}, {kept.ExpiresAt, 2}} {
		deleted, err = s.DeleteJoinTokens(t.Context(), row.before)
		require.NoError(t, err)
		require.Equal(t, row.want, deleted, row.before)
		s = b.store(t)
	}
	for _, token := range []ca.JoinToken{spent, gone} {
		_, err = s.UseJoinToken(t.Context(), token.Hash, start)
		requireReason(t, ca.ReasonTokenKeyUnknown, err)
	}
	got, err := s.UseJoinToken(t.Context(), kept.Hash, start)
	require.NoError(t, err)
	require.Equal(t, kept, got)
}
