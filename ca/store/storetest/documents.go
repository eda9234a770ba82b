package storetest

import (
	"context"
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

// DocumentsOpener opens the documents that dir stands for, as Opener does.
type DocumentsOpener func(t testing.TB, dir string) ca.Documents

// RunDocuments holds an implementation of ca.Documents to its contract. Run does
// it for every store.
func RunDocuments(t *testing.T, open DocumentsOpener) {
	for name, test := range documentTests() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test(t, func() ca.Documents { return open(t, dir) })
		})
	}
}

// documentTest gets the documents, and the same again after a restart, from open.
type documentTest func(t *testing.T, open func() ca.Documents)

func documentTests() map[string]documentTest {
	return map[string]documentTest{
		"a document is what was stored last":                  documentRoundTrip,
		"a document is not stored over another version":       documentStale,
		"a deleted document's versions never recur":           documentABA,
		"documents are listed by kind in the order of bytes":  documentList,
		"a page of documents has a thousand":                  documentPage,
		"a document that cannot be is refused":                documentRefused,
		"of many writers of one version one wins":             documentRace,
		"a write of unknown outcome happened once or never":   documentUnknown,
		"of many counters none loses what another has stored": documentCounters,
	}
}

// withDocuments runs a test of documents over a whole store.
func withDocuments(test documentTest) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		test(t, func() ca.Documents { return b.store(t) })
	}
}

func requireDocument(t *testing.T, d ca.Documents, kind string, want ca.Document) {
	t.Helper()
	got, err := d.Document(t.Context(), kind, want.Name)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func put(t *testing.T, d ca.Documents, name string, old ca.Version, body string) ca.Version {
	t.Helper()
	version, err := d.PutDocument(t.Context(), "plan", name, old, []byte(body))
	require.NoError(t, err)
	require.Greater(t, version, old)
	return version
}

func documentRoundTrip(t *testing.T, open func() ca.Documents) {
	d := open()
	requireDocument(t, d, "plan", ca.Document{Name: "one"})
	binary := "\x00\xff" + strings.Repeat("x", ca.MaxDocument-2)
	var version ca.Version
	for _, body := range []string{"a", "a", `{"b":"é"}`, binary} {
		version = put(t, d, "one", version, body)
		want := ca.Document{Name: "one", Version: version, Body: []byte(body)}
		requireDocument(t, d, "plan", want)
		requireDocument(t, d, "other kind", ca.Document{Name: "one"})
		requireDocument(t, d, "plan", ca.Document{Name: "One"})
		d = open()
		requireDocument(t, d, "plan", want)
	}
	got, err := d.Document(t.Context(), "plan", "one")
	require.NoError(t, err)
	got.Body[0] = 'y' // the caller's own
	requireDocument(t, d, "plan", ca.Document{Name: "one", Version: version, Body: []byte(binary)})
}

func documentStale(t *testing.T, open func() ca.Documents) {
	d := open()
	_, err := d.PutDocument(t.Context(), "plan", "one", 1, []byte("a"))
	requireReason(t, ca.ReasonStale, err)
	requireReason(t, ca.ReasonStale, d.DeleteDocument(t.Context(), "plan", "one", 1))
	requireReason(t, ca.ReasonStale, d.DeleteDocument(t.Context(), "plan", "one", 0))
	requireDocument(t, d, "plan", ca.Document{Name: "one"})

	first := put(t, d, "one", 0, "a")
	second := put(t, d, "one", first, "b")
	for _, old := range []ca.Version{0, first, second + 1, ^ca.Version(0)} {
		_, err := d.PutDocument(t.Context(), "plan", "one", old, []byte("c"))
		requireReason(t, ca.ReasonStale, err)
		requireReason(t, ca.ReasonStale, d.DeleteDocument(t.Context(), "plan", "one", old))
	}
	_, err = d.PutDocument(t.Context(), "plan", "two", second, []byte("c"))
	requireReason(t, ca.ReasonStale, err)
	requireDocument(t, d, "plan", ca.Document{Name: "one", Version: second, Body: []byte("b")})
}

func documentABA(t *testing.T, open func() ca.Documents) {
	d := open()
	var seen []ca.Version
	for range 4 {
		first := put(t, d, "one", 0, "the same")
		second := put(t, d, "one", first, "the same")
		seen = append(seen, first, second)
		require.NoError(t, d.DeleteDocument(t.Context(), "plan", "one", second))
		requireDocument(t, d, "plan", ca.Document{Name: "one"})
		requireReason(t, ca.ReasonStale, d.DeleteDocument(t.Context(), "plan", "one", second))
		_, err := d.PutDocument(t.Context(), "plan", "one", second, []byte("of a sleeper"))
		requireReason(t, ca.ReasonStale, err)
		d = open()
		requireDocument(t, d, "plan", ca.Document{Name: "one"})
	}
	last := put(t, d, "one", 0, "the same")
	require.NotContains(t, seen, last)
	for i, version := range seen {
		require.NotContains(t, seen[i+1:], version)
		_, err := d.PutDocument(t.Context(), "plan", "one", version, []byte("of a sleeper"))
		requireReason(t, ca.ReasonStale, err)
	}
}

func documentList(t *testing.T, open func() ca.Documents) {
	d := open()
	names := []string{"B", "a", "a-", "a/b", "aa", "b", "eu-1", "eu-10", "eu-2", "zone", "ä", "日", "😀"}
	require.True(t, slices.IsSorted(names))
	var want []ca.Document
	for i := range names {
		name := names[(i*5)%len(names)] // in no order
		put(t, d, name, 0, "of "+name)
	}
	for _, name := range names {
		want = append(want, ca.Document{Name: name, Version: 1, Body: []byte("of " + name)})
	}
	_, err := d.PutDocument(t.Context(), "plan2", "a", 0, []byte("of another kind"))
	require.NoError(t, err)
	put(t, d, "gone", 0, "x")
	require.NoError(t, d.DeleteDocument(t.Context(), "plan", "gone", 1))
	for range 2 {
		for name, row := range map[string]struct {
			kind, after string
			limit       int
			want        []ca.Document
		}{
			"all":                    {"plan", "", 0, want},
			"an impossible limit":    {"plan", "", 1 << 30, want},
			"two":                    {"plan", "", 2, want[:2]},
			"after one":              {"plan", "a", 3, want[2:5]},
			"after one that is gone": {"plan", "gone", 0, want[9:]},
			"after the last":         {"plan", "😀", 0, nil},
			"another kind":           {"none", "", 0, nil},
		} {
			got, err := d.Documents(t.Context(), row.kind, row.after, row.limit)
			require.NoError(t, err)
			require.Equal(t, row.want, got, name)
		}
		d = open()
	}
}

func documentPage(t *testing.T, open func() ca.Documents) {
	d := open()
	for n := range ca.MaxDocuments + 1 {
		put(t, d, fmt.Sprintf("%05d", n), 0, "x")
	}
	for _, limit := range []int{0, -1, ca.MaxDocuments, ca.MaxDocuments + 1} {
		page, err := d.Documents(t.Context(), "plan", "", limit)
		require.NoError(t, err)
		require.Len(t, page, ca.MaxDocuments)
		rest, err := d.Documents(t.Context(), "plan", page[len(page)-1].Name, limit)
		require.NoError(t, err)
		require.Equal(t, []ca.Document{{Name: "01000", Version: 1, Body: []byte("x")}}, rest)
	}
}

func documentRefused(t *testing.T, open func() ca.Documents) {
	d := open()
	for name, row := range map[string]struct{ kind, name, body string }{
		"no kind":               {"", "a", "b"},
		"no name":               {"plan", "", "b"},
		"no body":               {"plan", "a", ""},
		"a long name":           {"plan", strings.Repeat("a", ca.MaxDocumentName+1), "b"},
		"a long kind":           {strings.Repeat("a", ca.MaxDocumentName+1), "a", "b"},
		"a name with a NUL":     {"plan", "a\x00b", "b"},
		"a name with a newline": {"plan", "a\nb", "b"},
		"a name not in UTF-8":   {"plan", "a\xff", "b"},
		"a large body":          {"plan", "a", strings.Repeat("x", ca.MaxDocument+1)},
	} {
		_, err := d.PutDocument(t.Context(), row.kind, row.name, 0, []byte(row.body))
		require.Error(t, err, name)
		got, err := d.Documents(t.Context(), "plan", "", 0)
		require.NoError(t, err)
		require.Empty(t, got, name)
	}
	put(t, d, strings.Repeat("é", ca.MaxDocumentName/2), 0, "and it goes on")
}

func documentRace(t *testing.T, open func() ca.Documents) {
	d := open()
	version := ca.Version(0)
	for round := range 6 {
		var winners atomic.Int32
		var winner atomic.Value // its document
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				body := []byte(fmt.Sprint(round, " ", i))
				next, err := d.PutDocument(t.Context(), "plan", "one", version, body)
				if err == nil {
					winners.Add(1)
					winner.Store(ca.Document{Name: "one", Version: next, Body: body})
				} else if ca.ReasonOf(err) != ca.ReasonStale {
					t.Errorf("a loser has %v", err)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, winners.Load())
		won, _ := winner.Load().(ca.Document)
		requireDocument(t, d, "plan", won)
		if version = won.Version; round%2 == 1 {
			require.NoError(t, d.DeleteDocument(t.Context(), "plan", "one", version))
			version = 0
		}
	}
}

// documentUnknown ends the context of writes at arbitrary moments. Whatever a
// caller was told, the body is its own or that of before, whole, and who reads
// again and tries again gets on.
func documentUnknown(t *testing.T, open func() ca.Documents) {
	d := open()
	known := ca.Document{Name: "one"}
	for n := range 200 {
		next := []byte(fmt.Sprint(n))
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n*17%400)*time.Microsecond)
		version, err := d.PutDocument(ctx, "plan", "one", known.Version, next)
		cancel()
		if err == nil {
			known = ca.Document{Name: "one", Version: version, Body: next}
			continue
		}
		require.NotEqual(t, ca.ReasonStale, ca.ReasonOf(err), "there is no other writer")
		// A write that is still under way is overtaken by this one, or is seen by it.
		overtaken, err := d.PutDocument(t.Context(), "plan", "one", known.Version, []byte("again"))
		got, readErr := d.Document(t.Context(), "plan", "one")
		require.NoError(t, readErr)
		if err == nil {
			require.Equal(t, ca.Document{Name: "one", Version: overtaken, Body: []byte("again")}, got)
		} else {
			requireReason(t, ca.ReasonStale, err)
			require.Greater(t, got.Version, known.Version)
			require.Equal(t, next, got.Body)
		}
		known = got
	}
	requireDocument(t, open(), "plan", known)
}

func documentCounters(t *testing.T, open func() ca.Documents) {
	d := open()
	const counters, each = 8, 20
	var group sync.WaitGroup
	for range counters {
		group.Go(func() {
			for done := 0; done < each; {
				now, err := d.Document(t.Context(), "plan", "count")
				if err != nil {
					t.Error(err)
					return
				}
				body := append(now.Body, 'x')
				switch _, err := d.PutDocument(t.Context(), "plan", "count", now.Version, body); {
				case err == nil:
					done++
				case ca.ReasonOf(err) != ca.ReasonStale:
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	got, err := d.Document(t.Context(), "plan", "count")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", counters*each), string(got.Body))
}
