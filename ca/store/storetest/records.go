package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
)

func recordIsDurable(t *testing.T, b *bench) {
	s := b.store(t)
	full := record(1)
	full.DNSNames = []string{"app.default.svc", "10.0.0.1"}
	full.IssuedAt = start.Add(123456 * time.Microsecond)
	bare := ca.Record{Serial: "7f", Identity: "spiffe://cluster.local/x", IssuedAt: start, NotBefore: start, NotAfter: start.Add(time.Hour)}
	want := []ca.Record{full, bare}
	for i := range want {
		require.NoError(t, s.Intend(t.Context(), want[i]))
		want[i].Seq = uint64(i + 1)
		require.Len(t, all(t, s), i+1, "a record that Intend has returned is seen")
	}
	require.Equal(t, want, sorted(all(t, s)))
	require.Equal(t, want, sorted(all(t, b.store(t))))
}

func voidIsKept(t *testing.T, b *bench) {
	s := b.store(t)
	want := intend(t, s, 0, 3)
	require.NoError(t, s.Void(t.Context(), want[1].Serial, "signing failed"))
	require.NoError(t, s.Void(t.Context(), want[1].Serial, "another reason"), "void already is no error")
	requireReason(t, ca.ReasonNotFound, s.Void(t.Context(), "7f00ff", "never recorded"))
	require.Error(t, s.Void(t.Context(), want[2].Serial, ""), "without a reason")
	require.Error(t, s.Void(t.Context(), want[2].Serial, strings.Repeat("x", 1<<20)), "with an endless reason")
	require.Error(t, s.Void(t.Context(), want[2].Serial, "a\x00b"), "with a reason that is no text")
	require.Error(t, s.Void(t.Context(), want[2].Serial, "\xff"), "with a reason that is no text")

	want[1].VoidedReason = "signing failed"
	require.Equal(t, want, sorted(all(t, s)))
	require.Equal(t, want, sorted(all(t, b.store(t))))
}

// serialOnce records more than a store can be expected to keep in mind.
func serialOnce(t *testing.T, b *bench) {
	const n = 6000
	s := b.store(t)
	intendAll(t, s, n)
	repeat := func(n int) {
		t.Helper()
		r := record(n)
		r.Identity = "spiffe://cluster.local/another"
		requireReason(t, ca.ReasonRecordFailed, s.Intend(t.Context(), r))
	}
	require.NoError(t, s.Intend(t.Context(), record(n)))
	repeat(n) // at once
	repeat(n - 50)

	s = b.store(t)
	repeat(3) // long ago, but the first after a restart
	repeat(n) // of late
	require.NoError(t, s.Intend(t.Context(), record(n+1)), "a new one is recorded all the same")

	var group sync.WaitGroup // at the same moment
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() { errs[i] = s.Intend(t.Context(), record(n+2)) })
	}
	group.Wait()
	recorded := slices.DeleteFunc(errs, func(err error) bool { return err != nil })
	require.Len(t, recorded, 1)
	found := all(t, s)
	require.Len(t, found, n+3)
	for serial, r := range found {
		require.NotEqual(t, "spiffe://cluster.local/another", r.Identity, serial)
	}
}

// intendAll records the records numbered from 0 to before n, by several writers.
func intendAll(t *testing.T, s store.Store, n int) {
	t.Helper()
	const writers = 16
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := w; i < n; i += writers {
				if err := s.Intend(t.Context(), record(i)); err != nil {
					t.Errorf("record %d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
}

func recordRefused(t *testing.T, b *bench) {
	s := b.store(t)
	for name, spoil := range map[string]func(*ca.Record){
		"no serial":             func(r *ca.Record) { r.Serial = "" },
		"an upper-case serial":  func(r *ca.Record) { r.Serial = "7F" },
		"a serial that is long": func(r *ca.Record) { r.Serial = strings.Repeat("7f", 21) },
		"a leading zero octet":  func(r *ca.Record) { r.Serial = "007f" },
		"a megabyte":            func(r *ca.Record) { r.Evidence.Subject = strings.Repeat("x", 1<<20) },
	} {
		r := record(1)
		spoil(&r)
		requireReason(t, ca.ReasonRecordFailed, s.Intend(t.Context(), r))
		require.Empty(t, all(t, s), name)
	}
	intend(t, s, 0, 1) // and the store goes on
}

func contextEnded(t *testing.T, b *bench) {
	s := b.store(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	requireReason(t, ca.ReasonOverloaded, s.Intend(ctx, record(0)))
	require.Empty(t, all(t, s))
	intend(t, s, 0, 1)
}

func pages(t *testing.T, b *bench) {
	s := b.store(t)
	want := intend(t, s, 0, 250)
	read := func(q ca.Query) []ca.Record {
		got, err := s.Records(t.Context(), q)
		require.NoError(t, err)
		return got
	}
	newest := slices.Clone(want)
	slices.Reverse(newest)
	for name, row := range map[string]struct {
		query ca.Query
		want  []ca.Record
	}{
		"no limit means 100":          {ca.Query{}, want[:100]},
		"a limit":                     {ca.Query{Limit: 7}, want[:7]},
		"a limit above what there is": {ca.Query{Limit: store.MaxLimit + 1}, want},
		"after the 240th":             {ca.Query{AfterSeq: 240}, want[240:]},
		"after the last":              {ca.Query{AfterSeq: 250}, nil},
		"after any that can be":       {ca.Query{AfterSeq: ^uint64(0)}, nil},
		"newest first":                {ca.Query{Newest: true, Limit: 3}, newest[:3]},
		"newest first, after":         {ca.Query{Newest: true, AfterSeq: 248}, newest[:2]},
		"newest first, all":           {ca.Query{Newest: true, Limit: 1000}, newest},
	} {
		require.Equal(t, row.want, read(row.query), name)
	}
}

// queries compares searches over a population that is larger than any internal
// summary with the plainest possible filter.
func queries(t *testing.T, b *bench) {
	s := b.store(t)
	const n = 3500
	intendAll(t, s, n)
	require.NoError(t, s.Void(t.Context(), record(77).Serial, "signing failed"))
	for round, s := range []store.Store{s, b.store(t)} {
		if round == 0 {
			s = b.opened
		}
		population := sorted(all(t, s))
		require.Len(t, population, n)
		for _, q := range askFor() {
			got, err := s.Records(t.Context(), q)
			require.NoError(t, err)
			require.Equal(t, filter(population, q), got, "%+v", q)
		}
	}
}

func askFor() []ca.Query {
	questions := []ca.Query{
		{Serial: record(0).Serial}, {Serial: record(3499).Serial}, {Serial: record(1023).Serial}, {Serial: "7f00ff"},
		{Identity: record(8).Identity}, {Identity: "spiffe://cluster.local/ns/team-1/sa/app"}, {Identity: "spiffe://cluster.local/ns/team-1/"},
		{Identity: "spiffe://cluster.local/"}, {Identity: "spiffe://"}, {Identity: "spiffe://other/"}, {Identity: "spiffe://cluster.local/ns/team-9/"},
		{Method: ca.MethodOIDC}, {Method: ca.MethodJoinToken}, {Cluster: "cluster-1"}, {Cluster: "cluster"},
		{Since: start.Add(2000 * time.Second)}, {Since: start.Add(time.Hour)}, {Until: start.Add(1500 * time.Second)}, {Until: start},
		{Since: start.Add(1500 * time.Second), Until: start.Add(1510 * time.Second)}, {Since: start.Add(10 * time.Hour)},
		{Method: ca.MethodKubernetes, Cluster: "cluster-0", Identity: "spiffe://cluster.local/ns/team-3/", Since: start.Add(500 * time.Second)},
		{Serial: record(5).Serial, Cluster: "cluster-0"}, {AfterSeq: 2100, Identity: "spiffe://cluster.local/ns/team-2/"},
	}
	var all []ca.Query
	for _, q := range questions {
		for _, limit := range []int{0, 3, 5000} {
			q.Limit = limit
			q.Newest = false
			all = append(all, q)
			q.Newest = true
			all = append(all, q)
		}
	}
	return all
}

// filter is the meaning of a query, said again.
func filter(population []ca.Record, q ca.Query) []ca.Record {
	var found []ca.Record
	for _, r := range population {
		isSelected := (q.Serial == "" || q.Serial == r.Serial) &&
			(q.Identity == "" || q.Identity == r.Identity || strings.HasSuffix(q.Identity, "/") && strings.HasPrefix(r.Identity, q.Identity)) &&
			(q.Method == "" || q.Method == r.Evidence.Method) &&
			(q.Cluster == "" || q.Cluster == r.Evidence.Cluster) &&
			(q.Since.IsZero() || !r.IssuedAt.Before(q.Since)) &&
			(q.Until.IsZero() || r.IssuedAt.Before(q.Until)) &&
			r.Seq > q.AfterSeq
		if isSelected {
			found = append(found, r)
		}
	}
	if q.Newest {
		slices.Reverse(found)
	}
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	return found[:min(limit, len(found))]
}

func manyWriters(t *testing.T, b *bench) {
	s := b.store(t)
	const writers, each = 50, 200
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if err := s.Intend(t.Context(), record(w*each+i)); err != nil {
					t.Errorf("record %d: %v", w*each+i, err)
				}
			}
			own, err := s.Records(t.Context(), ca.Query{Serial: record(w * each).Serial})
			if err != nil || len(own) != 1 {
				t.Errorf("writer %d does not see its own record: %d, %v", w, len(own), err)
			}
		})
	}
	group.Wait()
	for range 2 {
		found := all(t, s)
		require.Len(t, found, writers*each)
		for n := range writers * each {
			got := found[record(n).Serial]
			want := record(n)
			want.Seq = got.Seq
			if !reflect.DeepEqual(want, got) { // require.Equal, 20 000 times, would take half a minute
				require.Equal(t, want, got)
			}
		}
		s = b.store(t)
	}
}

func liveKeys(t *testing.T, b *bench) {
	s := b.store(t)
	records := intend(t, s, 0, 2500) // record n ends n seconds after the first, at start + 1 h
	require.NoError(t, s.Void(t.Context(), records[2000].Serial, "signing failed"))
	read := func(now time.Time) []ca.LiveKey {
		var keys []ca.LiveKey
		require.NoError(t, s.LiveKeys(t.Context(), now, func(k ca.LiveKey) error {
			keys = append(keys, k)
			return nil
		}))
		return keys
	}
	live := func(from int) []ca.LiveKey {
		var keys []ca.LiveKey
		for n := from; n < len(records); n++ {
			if n != 2000 {
				keys = append(keys, records[n].LiveKey())
			}
		}
		return keys
	}
	for range 2 {
		require.Equal(t, live(0), read(start))
		require.Equal(t, live(1001), read(records[1000].NotAfter), "a certificate that ends now is dead")
		require.Equal(t, live(2499), read(records[2499].NotAfter.Add(-time.Microsecond)))
		require.Empty(t, read(start.Add(24*time.Hour)))
		stop := errors.New("stop")
		calls := 0
		require.ErrorIs(t, s.LiveKeys(t.Context(), start, func(ca.LiveKey) error {
			calls++
			return stop
		}), stop)
		require.Equal(t, 1, calls)
		s = b.store(t)
	}
}

func closed(t *testing.T, b *bench) {
	s := b.store(t)
	intend(t, s, 0, 1)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	for name, err := range everyCall(t.Context(), s) {
		require.Error(t, err, name)
	}
	require.Len(t, all(t, b.open1(t)), 1)
}

// everyCall makes every call once and returns its error.
func everyCall(ctx context.Context, s store.Store) map[string]error {
	_, _, load := s.Load(ctx)
	_, replace := s.Replace(ctx, 0, ca.State{})
	_, records := s.Records(ctx, ca.Query{})
	_, evts := s.Events(ctx, 0, false, 0)
	_, deleteTokens := s.DeleteJoinTokens(ctx, start)
	_, put := s.PutDocument(ctx, "plan", "late", 0, []byte("x"))
	_, document := s.Document(ctx, "plan", "late")
	_, documents := s.Documents(ctx, "plan", "", 0)
	_, use := s.UseJoinToken(ctx, [32]byte{1}, start)
	return map[string]error{
		"Load": load, "Replace": replace, "Records": records, "Events": evts, "UseJoinToken": use,
		"PutDocument": put, "Document": document, "Documents": documents,
		"DeleteDocument": s.DeleteDocument(ctx, "plan", "late", 1),
		"Intend":         s.Intend(ctx, record(9)), "Void": s.Void(ctx, record(0).Serial, "late"),
		"Append":           s.Append(ctx, ca.Event{At: start, Actor: "system", Action: "late"}),
		"CreateJoinToken":  s.CreateJoinToken(ctx, token("late")),
		"ReturnJoinToken":  s.ReturnJoinToken(ctx, [32]byte{1}),
		"DeleteJoinTokens": deleteTokens,
		"LiveKeys":         s.LiveKeys(ctx, start, func(ca.LiveKey) error { return nil }),
	}
}

// open1 opens the store again when the test has closed it itself.
func (b *bench) open1(t *testing.T) store.Store {
	b.opened = nil
	return b.store(t)
}
