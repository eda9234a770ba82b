package local_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/root/local"
)

// expiredWorld is a root some time after its end.
func expiredWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.Now = catest.Start.Add(ca.RootLifetime + time.Hour)
	return w
}

func TestRenewalThatWasCutOffIsResumed(t *testing.T) {
	rows := []struct {
		name  string
		crash func(t *testing.T, w *world) // leaves what a crash there leaves
	}{
		{"before anything", func(*testing.T, *world) {}},
		{"half of the new files", func(t *testing.T, w *world) {
			require.NoError(t, os.WriteFile(filepath.Join(w.Dir, "root.key.next"), []byte("half"), 0o600))
		}},
		{"between the two names", func(t *testing.T, w *world) {
			require.NoError(t, os.Rename(filepath.Join(newWorld(t).Dir, "root.key"), filepath.Join(w.Dir, "root.key")))
		}},
		{"before anybody was told", func(t *testing.T, w *world) {
			_, err := local.Renew(t.Context(), w.InitConfig, w.anchors[0].Certificate)
			require.NoError(t, err)
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := expiredWorld(t)
			row.crash(t, w)
			r, err := w.open()
			require.NoError(t, err, "a server starts")
			fresh, err := local.Renew(t.Context(), w.InitConfig, w.anchors[0].Certificate)
			require.NoError(t, err)
			chain, err := w.sign(t, r, w.Now)
			require.NoError(t, err)
			require.NoError(t, chain[0].CheckSignatureFrom(fresh))
			left, err := filepath.Glob(filepath.Join(w.Dir, "*.next"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestResumedRenewalReturnsTheRootThatIsThere(t *testing.T) {
	w := expiredWorld(t)
	first, err := local.Renew(t.Context(), w.InitConfig, w.anchors[0].Certificate)
	require.NoError(t, err)
	again, err := local.Renew(t.Context(), w.InitConfig, w.anchors[0].Certificate)
	require.NoError(t, err)
	require.Equal(t, first, again)
}

func TestRenewalTakesNoRootWhoseKeyIsAnother(t *testing.T) {
	w := expiredWorld(t)
	_, err := local.Renew(t.Context(), w.InitConfig, w.anchors[0].Certificate)
	require.NoError(t, err)
	other := newWorld(t)
	require.NoError(t, os.Rename(filepath.Join(other.Dir, "root.key"), filepath.Join(w.Dir, "root.key")))
	_, err = local.Renew(t.Context(), w.InitConfig, w.anchors[0].Certificate)
	require.ErrorContains(t, err, "is not the key of")
}
