package file

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/keystoretest"
	"github.com/kedge-ca/kedge/fips"
)

func TestStoreConforms(t *testing.T) {
	dirs := make(map[string]string) // one for each test, so that it can open its store again
	keystoretest.Run(t, keystoretest.Subject{Durable: true, Open: func(t *testing.T) ca.KeyStore {
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = filepath.Join(t.TempDir(), "keys")
		}
		return newStore(t, dirs[t.Name()])
	}})
}

func newStore(t testing.TB, dir string) *Store {
	t.Helper()
	store, err := New(Config{Dir: dir, Sealer: newSealer(t, passphrase), KeyType: fips.ECDSAP256})
	require.NoError(t, err)
	return store
}

func TestNewRefuses(t *testing.T) {
	sealer := newSealer(t, passphrase)
	open := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(open, 0o755))
	for name, row := range map[string]struct {
		config Config
		want   string
	}{
		"no directory":                 {Config{Sealer: sealer, KeyType: fips.ECDSAP256}, "needs a directory and a sealer"},
		"no sealer":                    {Config{Dir: t.TempDir(), KeyType: fips.ECDSAP256}, "needs a directory and a sealer"},
		"an unknown key type":          {Config{Dir: t.TempDir(), Sealer: sealer, KeyType: "dsa"}, `unknown key type "dsa"`},
		"a directory open to others":   {Config{Dir: open, Sealer: sealer, KeyType: fips.ECDSAP256}, "run chmod 0700"},
		"a directory without a parent": {Config{Dir: filepath.Join(open, "a", "b"), Sealer: sealer, KeyType: fips.ECDSAP256}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(row.config)
			require.ErrorContains(t, err, row.want)
		})
	}
}

func TestStoreRefusesNames(t *testing.T) {
	store := newStore(t, filepath.Join(t.TempDir(), "keys"))
	for _, name := range []string{"", "../root", "a/b", ".", "Int-1", "int_1", "int.1", "int 1", "int\x00", strings.Repeat("a", 65)} {
		_, err := store.Create(t.Context(), name)
		require.Error(t, err, "%q", name)
		_, err = store.Open(t.Context(), name)
		require.Error(t, err, "%q", name)
		require.Error(t, store.Destroy(t.Context(), name), "%q", name)
	}
}

func TestStoreWritesNoPlainKeyAndNoOpenMode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	key, err := newStore(t, dir).Create(t.Context(), "int-1")
	require.NoError(t, err)

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "int-1.key", entries[0].Name())
	info, err := entries[0].Info()
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	content, err := os.ReadFile(filepath.Join(dir, "int-1.key"))
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(content, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")))
	require.NotNil(t, key)
}

func TestOpenRefusesSuspiciousFiles(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(t *testing.T, path string)
		want  string
	}{
		"a symbolic link to the key": {func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, path+".moved"))
			require.NoError(t, os.Symlink(path+".moved", path))
		}, "symbolic link"},
		"a FIFO, without waiting for a writer": {func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, syscall.Mkfifo(path, 0o600))
		}, "FIFO"},
		"a key that others can read": {func(t *testing.T, path string) {
			require.NoError(t, os.Chmod(path, 0o644))
		}, "run chmod 0600"},
		"a truncated key": {func(t *testing.T, path string) {
			require.NoError(t, os.Truncate(path, 100))
		}, "truncated"},
		"a key of another kind": {func(t *testing.T, path string) {
			plant(t, path, golden(t, "ed25519.der"))
		}, "reading key"},
		"an EC key with another's public key": {func(t *testing.T, path string) {
			der := golden(t, "ec.der")
			der[len(der)-1] ^= 1
			plant(t, path, der)
		}, "wrong passphrase, or the file is damaged"},
		"a huge file": {func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, make([]byte, maxKeyFile+1), 0o600))
		}, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t, filepath.Join(t.TempDir(), "keys"))
			_, err := store.Create(t.Context(), "int-1")
			require.NoError(t, err)
			path := filepath.Join(store.c.Dir, "int-1.key")
			row.spoil(t, path)
			_, err = store.Open(t.Context(), "int-1")
			require.ErrorContains(t, err, row.want)
			require.ErrorContains(t, err, path)
			require.NotEqual(t, ca.ReasonNotFound, ca.ReasonOf(err))
		})
	}
}

func plant(t *testing.T, path string, pkcs8 []byte) {
	t.Helper()
	sealed, err := newSealer(t, passphrase).Seal(t.Context(), "int-1", pkcs8)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, sealed, 0o600))
}

func TestStoreReadsKeysThatOpenSSLMade(t *testing.T) {
	store := newStore(t, filepath.Join(t.TempDir(), "keys"))
	for name, der := range map[string]string{"ec": "ec.der", "rsa": "rsa.der"} {
		plant(t, filepath.Join(store.c.Dir, name+".key"), golden(t, der))
		_, err := store.Open(t.Context(), name)
		require.NoError(t, err)
	}
}

func TestOpenSSLReadsTheKey(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: nobody else has read the key file in this run")
	}
	for _, keyType := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(keyType), func(t *testing.T) {
			store, err := New(Config{Dir: filepath.Join(t.TempDir(), "keys"), Sealer: newSealer(t, passphrase), KeyType: keyType})
			require.NoError(t, err)
			_, err = store.Create(t.Context(), "int-1")
			require.NoError(t, err)
			path := filepath.Join(store.c.Dir, "int-1.key")

			out, err := exec.Command(openssl, "pkey", "-in", path, "-passin", "pass:"+passphrase, "-check", "-noout").CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "Key is valid")
			out, err = exec.Command(openssl, "pkey", "-in", path, "-passin", "pass:another passphrase", "-noout").CombinedOutput()
			require.Error(t, err, "%s", out)
		})
	}
}
