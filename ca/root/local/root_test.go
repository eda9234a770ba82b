package local_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/ca/root/local"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

// world is a root in a directory of its own.
type world struct {
	local.InitConfig
	anchors []ca.Anchor
}

func newWorld(t *testing.T) *world {
	t.Helper()
	policy, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	domain, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	sealer, err := file.NewPassphraseSealer([]byte("correct horse battery staple"))
	require.NoError(t, err)
	standby, err := file.NewPassphraseSealer([]byte("another passphrase altogether"))
	require.NoError(t, err)
	dir := t.TempDir()
	w := &world{InitConfig: local.InitConfig{
		Dir: filepath.Join(dir, "root"), StandbyDir: filepath.Join(dir, "standby"), Sealer: sealer, StandbySealer: standby,
		TrustDomain: domain, KeyType: fips.ECDSAP256, Policy: policy, Now: catest.Start,
	}}
	w.anchors, err = local.Init(t.Context(), w.InitConfig)
	require.NoError(t, err)
	return w
}

func (w *world) open() (*local.Root, error) {
	return local.Open(local.Config{Dir: w.Dir, Sealer: w.Sealer, Policy: w.Policy})
}

func (w *world) sign(t *testing.T, r *local.Root, at time.Time) ([]*x509.Certificate, error) {
	t.Helper()
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, catest.GenerateKey(t, fips.ECDSAP256))
	require.NoError(t, err)
	return r.SignIntermediate(t.Context(), csr, ca.IntermediateRequest{
		TrustDomain: w.TrustDomain, NotBefore: at.Add(-time.Hour), NotAfter: at.Add(ca.IntermediateLifetime),
	})
}

func TestRootSignsUnderItsAnchor(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, ca.SlotActive, w.anchors[0].Slot)
	require.Equal(t, ca.SlotStandby, w.anchors[1].Slot)
	r, err := w.open()
	require.NoError(t, err)
	anchor, err := r.Anchor(t.Context())
	require.NoError(t, err)
	require.Equal(t, w.anchors[0].Certificate, anchor)
	chain, err := w.sign(t, r, catest.Start)
	require.NoError(t, err)
	require.NoError(t, chain[0].CheckSignatureFrom(anchor))
}

func TestStandbyMayBeElsewhere(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, os.RemoveAll(w.StandbyDir))
	r, err := w.open()
	require.NoError(t, err)
	_, err = w.sign(t, r, catest.Start)
	require.NoError(t, err)
}

func TestStandbyHasAPassphraseOfItsOwn(t *testing.T) {
	w := newWorld(t)
	r, err := local.Open(local.Config{Dir: w.StandbyDir, Sealer: w.Sealer, Policy: w.Policy})
	require.NoError(t, err)
	_, err = w.sign(t, r, catest.Start)
	require.ErrorIs(t, err, file.ErrPassphrase)
}

func TestInitOverwritesNothing(t *testing.T) {
	w := newWorld(t)
	_, err := local.Init(t.Context(), w.InitConfig)
	require.ErrorContains(t, err, "never overwritten")
	w.StandbyDir = w.Dir
	_, err = local.Init(t.Context(), w.InitConfig)
	require.ErrorContains(t, err, "directories of their own")
	w.StandbySealer = nil
	w.StandbyDir = filepath.Join(t.TempDir(), "standby")
	_, err = local.Init(t.Context(), w.InitConfig)
	require.ErrorContains(t, err, "a sealer each")
}

func TestSuspiciousRootIsRefused(t *testing.T) {
	rows := []struct {
		name  string
		spoil func(t *testing.T, w *world)
		want  string
	}{
		{"no directory", func(t *testing.T, w *world) { require.NoError(t, os.RemoveAll(w.Dir)) }, "ca init"},
		{"directory open to others", func(t *testing.T, w *world) { require.NoError(t, os.Chmod(w.Dir, 0o755)) }, "run chmod 0700"},
		{"key readable by others", func(t *testing.T, w *world) { require.NoError(t, os.Chmod(filepath.Join(w.Dir, "root.key"), 0o644)) }, "run chmod 0600"},
		{"key is a link", func(t *testing.T, w *world) {
			path := filepath.Join(w.Dir, "root.key")
			require.NoError(t, os.Rename(path, path+".real"))
			require.NoError(t, os.Symlink(path+".real", path))
		}, "root.key"},
		{"key is a FIFO", func(t *testing.T, w *world) {
			path := filepath.Join(w.Dir, "root.key")
			require.NoError(t, os.Remove(path))
			require.NoError(t, syscall.Mkfifo(path, 0o600))
		}, "root.key"},
		{"key of another root", func(t *testing.T, w *world) {
			other := newWorld(t)
			require.NoError(t, os.Rename(filepath.Join(other.Dir, "root.key"), filepath.Join(w.Dir, "root.key")))
		}, "is not the key of"},
		{"half a certificate", func(t *testing.T, w *world) {
			require.NoError(t, os.Truncate(filepath.Join(w.Dir, "root.pem"), 100))
		}, "exactly one PEM certificate"},
		{"two certificates", func(t *testing.T, w *world) {
			path := filepath.Join(w.Dir, "root.pem")
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, append(raw, raw...), 0o600))
		}, "exactly one PEM certificate"},
		{"a leaf as the certificate", func(t *testing.T, w *world) {
			c := catest.New(t)
			issued, err := c.Authority.Issue(t.Context(), c.Caller(t, "web"), c.Request(t, catest.GenerateKey(t, fips.ECDSAP256), ""))
			require.NoError(t, err)
			encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued.Leaf})
			require.NoError(t, os.WriteFile(filepath.Join(w.Dir, "root.pem"), encoded, 0o600))
		}, "not a CA certificate"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			row.spoil(t, w)
			r, err := w.open()
			if err == nil {
				_, err = w.sign(t, r, catest.Start)
			}
			require.ErrorContains(t, err, row.want)
		})
	}
}

func TestExpiredRootSignsNothingUntilItIsRenewed(t *testing.T) {
	w := newWorld(t)
	late := catest.Start.Add(ca.RootLifetime + time.Hour)
	r, err := w.open()
	require.NoError(t, err)
	_, err = w.sign(t, r, late.Add(time.Hour))
	require.ErrorContains(t, err, "ca repair")

	old := w.anchors[0].Certificate
	_, err = local.Renew(t.Context(), w.InitConfig, old)
	require.ErrorContains(t, err, "lives until")
	w.Now = late
	fresh, err := local.Renew(t.Context(), w.InitConfig, old)
	require.NoError(t, err)
	chain, err := w.sign(t, r, late)
	require.NoError(t, err, "the open root sees its new files")
	require.NoError(t, chain[0].CheckSignatureFrom(fresh))
	kept, err := filepath.Glob(w.Dir + "/expired-*-root.key")
	require.NoError(t, err)
	require.Len(t, kept, 1, "the old key is kept")
}
