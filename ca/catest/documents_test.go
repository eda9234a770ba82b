package catest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/store/storetest"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

func TestDocumentsConform(t *testing.T) {
	kept := make(map[string]*catest.Documents)
	storetest.RunDocuments(t, func(_ testing.TB, dir string) ca.Documents {
		if kept[dir] == nil {
			kept[dir] = &catest.Documents{}
		}
		return kept[dir]
	})
}

func TestFaultOfDocumentsLosesOrKeepsTheWrite(t *testing.T) {
	cut := errors.New("the connection was cut")
	for name, persisted := range map[string]bool{"lost": false, "kept all the same": true} {
		t.Run(name, func(t *testing.T) {
			d := &catest.Documents{}
			version, err := d.PutDocument(t.Context(), "plan", "one", 0, []byte("a"))
			require.NoError(t, err)
			d.Fault = func() (error, bool) { return cut, persisted }
			_, err = d.PutDocument(t.Context(), "plan", "one", 7, []byte("b"))
			require.Equal(t, ca.ReasonStale, ca.ReasonOf(err), "a lost race is no fault")
			_, err = d.PutDocument(t.Context(), "plan", "one", version, []byte("b"))
			require.ErrorIs(t, err, cut)

			want := ca.Document{Name: "one", Version: version, Body: []byte("a")}
			if persisted {
				want = ca.Document{Name: "one", Version: version + 1, Body: []byte("b")}
			}
			got, err := d.Document(t.Context(), "plan", "one")
			require.NoError(t, err)
			require.Equal(t, want, got)

			require.ErrorIs(t, d.DeleteDocument(t.Context(), "plan", "one", got.Version), cut)
			got, err = d.Document(t.Context(), "plan", "one")
			require.NoError(t, err)
			require.Equal(t, persisted, got.Version == 0)
		})
	}
}

func TestDocumentsAreLinear(t *testing.T) {
	d := &catest.Documents{}
	var calls atomic.Int64
	d.Fault = func() (error, bool) {
		n := calls.Add(1)
		if n%11 == 0 {
			return errors.New("the connection was cut"), n%2 == 0
		}
		return nil, false
	}
	require.True(t, storetest.IsLinear(t, storetest.Linear{Documents: func(int) ca.Documents { return d }, Disturb: func() {}, Calls: 4000}))
}

type inMemory = catest.Documents

// careless stores something else, or does not compare: what the check is for.
type careless struct {
	*inMemory
	spoil func(old *ca.Version, body *[]byte)
}

func (c careless) PutDocument(ctx context.Context, kind, name string, old ca.Version, body []byte) (ca.Version, error) {
	c.spoil(&old, &body)
	return c.inMemory.PutDocument(ctx, kind, name, old, body)
}

func TestCheckOfLinearityFindsWhatIsNot(t *testing.T) {
	for name, spoil := range map[string]func(*catest.Documents, *ca.Version, *[]byte){
		"another body than the one that was given": func(_ *catest.Documents, _ *ca.Version, body *[]byte) { *body = []byte("another") },
		"a swap without comparing": func(d *catest.Documents, old *ca.Version, _ *[]byte) {
			if doc, err := d.Document(t.Context(), "linear", "doc-0"); err == nil && *old != 0 {
				*old = doc.Version
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := &catest.Documents{}
			c := careless{d, func(old *ca.Version, body *[]byte) { spoil(d, old, body) }}
			require.False(t, storetest.IsLinear(t, storetest.Linear{Documents: func(int) ca.Documents { return c }, Disturb: func() {}, Calls: 1000}))
		})
	}
}
