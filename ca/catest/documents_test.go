package catest_test

import (
	"errors"
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
