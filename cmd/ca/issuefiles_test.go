package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/fips"
)

// issued is what a server could have answered: a leaf that signs itself is enough
// for files.
func issued(t testing.TB, from, until time.Time) *client.Certificate {
	t.Helper()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: from, NotAfter: until,
		URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/a"}},
	}
	leaf := selfSigned(t, template, key)
	return &client.Certificate{
		Key: key, Chain: []*x509.Certificate{leaf}, Bundle: []*x509.Certificate{leaf},
		Identity: "spiffe://example.org/a", Serial: fmt.Sprintf("%x", serial), RenewAt: from.Add(until.Sub(from) / 2),
	}
}

func selfSigned(t testing.TB, template *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

func hourOf(t testing.TB, now time.Time) *client.Certificate {
	t.Helper()
	return issued(t, now.Add(-time.Minute), now.Add(time.Hour))
}

// requireHolds holds a directory to one certificate: pair and bundle, and nothing
// that waits.
func requireHolds(t *testing.T, dir string, want *client.Certificate) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	require.NoError(t, err, "key and certificate belong together")
	require.Equal(t, want.Chain[0].Raw, pair.Certificate[0])
	bundle, err := os.ReadFile(filepath.Join(dir, bundleFile))
	require.NoError(t, err)
	require.Equal(t, string(want.BundlePEM()), string(bundle))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3, "%v", entries)
}

func TestCertificateIsWrittenWithItsKeyClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "w")
	first, second := hourOf(t, time.Now()), hourOf(t, time.Now())
	require.NoError(t, writeCertificate(dir, first))
	requireHolds(t, dir, first)
	require.NoError(t, writeCertificate(dir, second))
	requireHolds(t, dir, second)
	for name, mode := range map[string]os.FileMode{keyFile: 0o600, certFile: 0o644, bundleFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
}

// TestFailedWriteLeavesThePairInUse breaks the write of each file in turn.
func TestFailedWriteLeavesThePairInUse(t *testing.T) {
	for _, name := range []string{keyFile, bundleFile, certFile} {
		t.Run(name, func(t *testing.T) {
			dir, old := t.TempDir(), hourOf(t, time.Now())
			require.NoError(t, writeCertificate(dir, old))
			obstacle := waiting(dir, name)
			require.NoError(t, os.MkdirAll(filepath.Join(obstacle, "x"), 0o755))
			require.ErrorContains(t, writeCertificate(dir, hourOf(t, time.Now())), "writing the certificate: ")
			require.NoError(t, os.RemoveAll(obstacle))
			for _, other := range []string{keyFile, bundleFile, certFile} {
				require.NoError(t, os.RemoveAll(waiting(dir, other)))
			}
			requireHolds(t, dir, old)
		})
	}
}

// TestCrashAtEachStepLeavesAPair stops a swap after each rename, and before the
// first; the next command finds a pair, and the one after writes as ever.
func TestCrashAtEachStepLeavesAPair(t *testing.T) {
	steps := []string{keyFile, bundleFile, certFile}
	for done := range len(steps) + 1 {
		t.Run(fmt.Sprint(done), func(t *testing.T) {
			now := time.Now()
			a, _, _ := testApp(now)
			dir, old, fresh := t.TempDir(), hourOf(t, now), hourOf(t, now)
			require.NoError(t, writeCertificate(dir, old))
			key, err := fresh.KeyPEM()
			require.NoError(t, err)
			require.NoError(t, writeWaiting(waiting(dir, keyFile), key, 0o600))
			require.NoError(t, writeWaiting(waiting(dir, bundleFile), fresh.BundlePEM(), 0o644))
			require.NoError(t, writeWaiting(waiting(dir, certFile), fresh.ChainPEM(), 0o644))
			require.NoError(t, takePlaces(dir, steps[:done]...))

			want := fresh
			if done == 0 {
				want = old
			}
			pair, err := a.loadPair(dir)
			require.NoError(t, err)
			require.Equal(t, want.Chain[0].Raw, pair.Certificate[0])
			last := hourOf(t, now)
			require.NoError(t, writeCertificate(dir, last))
			requireHolds(t, dir, last)
		})
	}
}

func TestWaitingKeyOfACrashIsNotReused(t *testing.T) {
	dir, c := t.TempDir(), hourOf(t, time.Now())
	require.NoError(t, os.WriteFile(waiting(dir, keyFile), []byte("old"), 0o644))
	watched, err := os.Open(waiting(dir, keyFile))
	require.NoError(t, err)
	defer watched.Close()
	require.NoError(t, writeCertificate(dir, c))
	requireHolds(t, dir, c)
	seen := make([]byte, 16)
	n, _ := watched.Read(seen)
	require.Equal(t, "old", string(seen[:n]), "who had it open sees no key")
}

func TestTwoWritersLeaveOnePair(t *testing.T) {
	dir := t.TempDir()
	made := []*client.Certificate{hourOf(t, time.Now()), hourOf(t, time.Now())}
	for range 20 {
		var wait sync.WaitGroup
		errs := make([]error, len(made))
		for i, c := range made {
			wait.Go(func() { errs[i] = writeCertificate(dir, c) })
		}
		wait.Wait()
		require.NoError(t, errors.Join(errs...))
		_, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
		require.NoError(t, err)
	}
}

func TestPairIsRefused(t *testing.T) {
	now := time.Now()
	a, _, _ := testApp(now)
	rows := []struct {
		name, code, want string
		spoil            func(t *testing.T, dir string)
	}{
		{"ended", "certificate_expired", "ended", func(t *testing.T, dir string) {
			require.NoError(t, writeCertificate(dir, issued(t, now.Add(-2*time.Hour), now.Add(-time.Hour))))
		}},
		{"another key", "certificate_unusable", "private key does not match", func(t *testing.T, dir string) {
			key, err := hourOf(t, now).KeyPEM()
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, keyFile), key, 0o600))
		}},
		{"no certificate", "certificate_unusable", "tls.crt", func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, certFile)))
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, writeCertificate(dir, hourOf(t, now)))
			r.spoil(t, dir)
			_, err := a.loadPair(dir)
			require.ErrorContains(t, err, r.want)
			require.Equal(t, r.code, describe(err).Code)
			require.Contains(t, describe(err).Next, "ca issue")
		})
	}
	_, err := a.loadPair(filepath.Join(t.TempDir(), "nowhere"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// renewerFunc is a client.Renewer.
type renewerFunc func(current tls.Certificate) (*client.Certificate, error)

func (renewerFunc) Watch(ctx context.Context, _ func(client.News)) error {
	<-ctx.Done()
	return ctx.Err()
}

func (f renewerFunc) Renew(_ context.Context, current tls.Certificate) (*client.Certificate, error) {
	return f(current)
}

// TestWatchKeepsTheOldPairUntilItHasANew runs in virtual time: nothing before half
// of the life, an outage, then a renewal, then the end.
func TestWatchKeepsTheOldPairUntilItHasANew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, stdout, stderr := testApp(time.Now())
		a.now = time.Now
		dir, start := t.TempDir(), time.Now()
		old := issued(t, start, start.Add(24*time.Hour))
		require.NoError(t, writeCertificate(dir, old))
		current, err := a.loadPair(dir)
		require.NoError(t, err)
		ctx, interrupt := context.WithCancel(t.Context())
		asked := make(chan time.Duration, 8)
		fresh := issued(t, start.Add(12*time.Hour), start.Add(36*time.Hour))
		renewer := renewerFunc(func(with tls.Certificate) (*client.Certificate, error) {
			asked <- time.Since(start)
			requireHolds(t, dir, old)
			require.Equal(t, old.Chain[0].Raw, with.Certificate[0])
			if len(asked) == 1 {
				return nil, errors.New("the server is away")
			}
			return fresh, nil
		})
		done := make(chan error, 1)
		go func() { done <- a.keep(ctx, renewer, current, dir) }()

		time.Sleep(12*time.Hour - time.Second) // virtual
		synctest.Wait()
		require.Empty(t, asked, "before half of its life it is not renewed")
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, asked, 2)
		require.Equal(t, 12*time.Hour, <-asked)
		requireHolds(t, dir, fresh)
		require.Contains(t, stderr.String(), "error: the server is away\nthe current certificate stays in use; next try ")
		require.Contains(t, stdout.String(), fresh.Serial)
		interrupt()
		require.NoError(t, <-done, "an interrupt is the normal end")
		requireHolds(t, dir, fresh)
	})
}

// TestWatchBringsTheBundleAtOnceAndNeverAnOlderOne: replicas that lag behind answer too.
func TestWatchBringsTheBundleAtOnceAndNeverAnOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := testApp(time.Now())
		a.now = time.Now
		dir, start := t.TempDir(), time.Now()
		old, lagging := issued(t, start, start.Add(24*time.Hour)), issued(t, start, start.Add(36*time.Hour))
		require.NoError(t, writeCertificate(dir, old))
		newer := hourOf(t, start).Bundle
		lagging.Sequence, lagging.RenewAt = 4, time.Now().Add(20*time.Hour)
		server := &watchedServer{
			renewerFunc: func(tls.Certificate) (*client.Certificate, error) { return lagging, nil },
			news:        []client.News{{Sequence: 5, Bundle: newer}, {Sequence: 4, Bundle: lagging.Bundle}},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 13*time.Hour)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- a.keep(ctx, server, old.TLS(), dir) }()
		time.Sleep(time.Minute)
		held := func() string {
			raw, err := os.ReadFile(filepath.Join(dir, bundleFile))
			require.NoError(t, err)
			return string(raw)
		}
		require.Equal(t, string(client.EncodeBundle(newer)), held(), "before any renewal")
		require.NoError(t, <-done)
		requireHolds(t, dir, &client.Certificate{Key: lagging.Key, Chain: lagging.Chain, Bundle: newer})
	})
}

// watchedServer tells its news and then nothing more.
type watchedServer struct {
	renewerFunc
	news []client.News
}

func (s *watchedServer) Watch(ctx context.Context, each func(client.News)) error {
	for _, n := range s.news {
		each(n)
	}
	return s.renewerFunc.Watch(ctx, each)
}
