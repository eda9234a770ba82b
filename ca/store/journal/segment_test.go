package journal_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

func segment(t *testing.T, records ...ca.Record) *journal.Segment {
	t.Helper()
	s := journal.NewSegment()
	var summary journal.Summary
	for _, r := range records {
		summary.Set(&r)
		s.Add(r.Seq, &summary)
	}
	require.NoError(t, s.Check())
	return s
}

func TestQueriesMatchByEachField(t *testing.T) {
	r := record(5)
	for name, row := range map[string]struct {
		yes, no ca.Query
	}{
		"serial":             {ca.Query{Serial: r.Serial}, ca.Query{Serial: "7f01"}},
		"identity":           {ca.Query{Identity: r.Identity}, ca.Query{Identity: r.Identity + "0"}},
		"identity, not part": {ca.Query{Identity: r.Identity}, ca.Query{Identity: "spiffe://cluster.local/ns/team-5/sa/app"}},
		"prefix":             {ca.Query{Identity: "spiffe://cluster.local/ns/team-5/"}, ca.Query{Identity: "spiffe://cluster.local/ns/team-6/"}},
		"trust domain":       {ca.Query{Identity: "spiffe://cluster.local/"}, ca.Query{Identity: "spiffe://cluster.loca/"}},
		"any identity":       {ca.Query{Identity: "spiffe://"}, ca.Query{Identity: "spiffe://x/"}},
		"method":             {ca.Query{Method: ca.MethodKubernetes}, ca.Query{Method: ca.MethodOIDC}},
		"cluster":            {ca.Query{Cluster: "eu-1"}, ca.Query{Cluster: "eu-2"}},
		"since, inclusive":   {ca.Query{Since: r.IssuedAt}, ca.Query{Since: r.IssuedAt.Add(time.Microsecond)}},
		"until, exclusive":   {ca.Query{Until: r.IssuedAt.Add(time.Microsecond)}, ca.Query{Until: r.IssuedAt}},
		"after, exclusive":   {ca.Query{AfterSeq: 4}, ca.Query{AfterSeq: 5}},
		"everything":         {ca.Query{}, ca.Query{Serial: r.Serial, Cluster: "eu-2"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.True(t, journal.NewSearch(row.yes).Matches(&r))
			require.True(t, journal.NewSearch(row.yes).MayMatch(segment(t, r)))
			require.False(t, journal.NewSearch(row.no).Matches(&r))
		})
	}
}

// A filter may say yes wrongly, never no; and it has to say no often, or it is of
// no use.
func TestSegmentNeverHidesAMatchAndRarelyShowsNone(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := journal.NewSegment()
	var records []ca.Record
	for n := 1; !s.IsFull(); n++ {
		r := record(n)
		r.Serial = fmt.Sprintf("7f%016x%016x", random.Uint64(), random.Uint64())
		r.Identity = fmt.Sprintf("spiffe://cluster.local/ns/team-%d/sa/app-%d", n%200, n) // all differ: the worst case
		var summary journal.Summary
		summary.Set(&r)
		s.Add(uint64(n), &summary)
		records = append(records, r)
	}
	require.EqualValues(t, journal.SegmentLen, s.Len())
	for _, r := range records {
		for _, q := range []ca.Query{
			{Serial: r.Serial}, {Identity: r.Identity}, {Identity: fmt.Sprintf("spiffe://cluster.local/ns/team-%d/", r.Seq%200)},
			{Method: r.Evidence.Method, Cluster: r.Evidence.Cluster, Since: r.IssuedAt, Until: r.IssuedAt.Add(1)},
		} {
			require.True(t, journal.NewSearch(q).MayMatch(s), "%+v", q)
		}
	}
	wrong := 0
	const tries = 20_000
	for range tries {
		q := ca.Query{Serial: fmt.Sprintf("7f%016x%016x", random.Uint64(), random.Uint64())}
		if journal.NewSearch(q).MayMatch(s) {
			wrong++
		}
	}
	require.Less(t, float64(wrong)/tries, 0.015, "false positives")
}

func TestSegmentIsSkippedByTimeAndPosition(t *testing.T) {
	first, last := record(10), record(20)
	s := segment(t, first, last)
	for name, row := range map[string]struct {
		query ca.Query
		want  bool
	}{
		"after its last record":       {ca.Query{AfterSeq: 20}, false},
		"after its first record":      {ca.Query{AfterSeq: 10}, true},
		"since its last record":       {ca.Query{Since: last.IssuedAt}, true},
		"since later":                 {ca.Query{Since: last.IssuedAt.Add(time.Microsecond)}, false},
		"until before its first":      {ca.Query{Until: first.IssuedAt.Add(-time.Microsecond)}, false},
		"until just after its first":  {ca.Query{Until: first.IssuedAt.Add(1)}, true},
		"another method":              {ca.Query{Method: ca.MethodOIDC}, false},
		"a namespace that is not in":  {ca.Query{Identity: "spiffe://cluster.local/ns/none/"}, false},
		"every identity of any trust": {ca.Query{Identity: "spiffe://"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, row.want, journal.NewSearch(row.query).MayMatch(s))
		})
	}
	require.True(t, s.MayBeLive(first.NotAfter.Add(-time.Second)))
	require.False(t, s.MayBeLive(first.NotAfter))
}

func TestSegmentCheckRefusesDamage(t *testing.T) {
	for name, spoil := range map[string]func(*journal.Segment){
		"an empty segment":      func(s *journal.Segment) { s.First = 0 },
		"an end before a start": func(s *journal.Segment) { s.Last = s.First - 1 },
		"a short filter":        func(s *journal.Segment) { s.Filter = s.Filter[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			s := segment(t, record(3))
			spoil(s)
			require.ErrorContains(t, s.Check(), "is damaged")
		})
	}
}

// The filter is stored: a change of its hash would make old segments hide their
// records.
func TestFilterBitsNeverChange(t *testing.T) {
	r := record(1)
	s := segment(t, r)
	var set []int
	for bit := range journal.FilterLen * 8 {
		if s.Filter[bit/8]&(1<<(bit%8)) != 0 {
			set = append(set, bit)
		}
	}
	require.Equal(t, goldenBits, set)
}

func TestHeadCoversEveryByteAndThePlaceOfARow(t *testing.T) {
	head := func(log journal.Log, rows ...string) journal.Head {
		var link journal.Link
		link.Begin(log.Origin())
		for i, row := range rows {
			link.Add(uint64(i+1), []byte(row))
		}
		return link.Head()
	}
	base := head(journal.Records, "ab", "c")
	require.Equal(t, base, head(journal.Records, "ab", "c"))
	for name, other := range map[string]journal.Head{
		"another log":         head(journal.Events, "ab", "c"),
		"another byte":        head(journal.Records, "aB", "c"),
		"other lengths":       head(journal.Records, "a", "bc"),
		"another order":       head(journal.Records, "c", "ab"),
		"a row less":          head(journal.Records, "ab"),
		"an empty row more":   head(journal.Records, "ab", "c", ""),
		"nothing at all":      head(journal.Records),
		"nothing, other logs": head(journal.Voids),
	} {
		require.NotEqual(t, base, other, name)
	}
}

var goldenBits = []int{
	17, 863, 1091, 2771, 2906, 3028, 4307, 4658, 6398, 6525, 7927, 8294, 8645, 8769, 9213, 11139, 11929, 12186, 12224, 12471, 12982, 13083, 13510, 14117,
	14286, 14426, 15129, 15174, 15312, 15450, 15588, 15726, 15865, 15881, 16101, 17035, 17847, 18239, 18252, 18409, 18764, 19778, 21420, 22191,
	22399, 23101, 23852,
}
