package secretfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
)

const limit = 16

func TestReadRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		plant func(t *testing.T, path string)
		want  string
	}{
		"a symbolic link": {func(t *testing.T, path string) {
			write(t, path+".real", "secret", 0o600)
			require.NoError(t, os.Symlink(path+".real", path))
		}, "symbolic link; name the file itself"},
		"a dangling symbolic link": {func(t *testing.T, path string) {
			require.NoError(t, os.Symlink(path+".gone", path))
		}, "symbolic link; name the file itself"},
		"a FIFO that nobody writes to": {func(t *testing.T, path string) {
			require.NoError(t, syscall.Mkfifo(path, 0o600))
		}, "FIFO, not a regular file"},
		"a directory": {func(t *testing.T, path string) {
			require.NoError(t, os.Mkdir(path, 0o700))
		}, "directory, not a regular file"},
		"a file that its group may read": {func(t *testing.T, path string) {
			write(t, path, "secret", 0o640)
		}, "run chmod 0600"},
		"a file that everyone may read": {func(t *testing.T, path string) {
			write(t, path, "secret", 0o604)
		}, "run chmod 0600"},
		"a file that others may write": {func(t *testing.T, path string) {
			write(t, path, "secret", 0o602)
		}, "run chmod 0600"},
		"a file above the limit": {func(t *testing.T, path string) {
			write(t, path, "seventeen bytes!!", 0o600)
		}, "larger than 16 bytes"},
		"a file that does not exist": {func(*testing.T, string) {}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			row.plant(t, path)
			_, err := secretfile.Read(path, limit)
			require.ErrorContains(t, err, row.want)
			require.ErrorContains(t, err, path)
		})
	}
}

func TestReadRefusesAFileOfAnotherOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away; the rule is tested where the suite runs as root")
	}
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "secret", 0o600)
	require.NoError(t, os.Chown(path, 12345, 12345))
	_, err := secretfile.Read(path, limit)
	require.ErrorContains(t, err, "belongs to uid 12345; run chown 0 "+path)
}

func TestReadReturnsAFileAtTheLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "sixteen bytes!!!", 0o400)
	content, err := secretfile.Read(path, limit)
	require.NoError(t, err)
	require.Equal(t, "sixteen bytes!!!", string(content))
}

func TestReadPublicAllowsReadersButNoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cert.pem")
	write(t, path, "public", 0o644)
	content, err := secretfile.ReadPublic(path, limit)
	require.NoError(t, err)
	require.Equal(t, "public", string(content))

	require.NoError(t, os.Chmod(path, 0o664))
	_, err = secretfile.ReadPublic(path, limit)
	require.ErrorContains(t, err, "run chmod 0644")
}

func TestCreateWritesOnceAndLeavesNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	require.NoError(t, secretfile.Create(path, []byte("first")))

	err := secretfile.Create(path, []byte("second"))
	require.ErrorIs(t, err, fs.ErrExist)

	content, err := secretfile.Read(path, limit)
	require.NoError(t, err)
	require.Equal(t, "first", string(content))
	require.Equal(t, []string{"secret"}, names(t, dir))
}

func TestCreateDoesNotFollowADanglingLink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	require.NoError(t, os.Symlink(filepath.Join(dir, "elsewhere"), path))
	require.ErrorIs(t, secretfile.Create(path, []byte("x")), fs.ErrExist)
	require.Equal(t, []string{"secret"}, names(t, dir))
}

func TestCreateHasOneWinner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	var winners atomic.Int32
	var writers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			if secretfile.Create(path, []byte("x")) == nil {
				winners.Add(1)
			}
		})
	}
	writers.Wait()
	require.EqualValues(t, 1, winners.Load())
}

func TestRemoveTwiceIsNoError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	require.NoError(t, secretfile.Create(path, []byte("x")))
	require.NoError(t, secretfile.Remove(path))
	require.NoError(t, secretfile.Remove(path))
	require.Empty(t, names(t, dir))
}

func TestMakeDirRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		plant func(t *testing.T, path string)
		want  string
	}{
		"a directory that others may enter": {func(t *testing.T, path string) {
			require.NoError(t, os.Mkdir(path, 0o755))
		}, "run chmod 0700"},
		"a link to a directory": {func(t *testing.T, path string) {
			require.NoError(t, os.Mkdir(path+".real", 0o700))
			require.NoError(t, os.Symlink(path+".real", path))
		}, "symbolic link, not a directory"},
		"a file": {func(t *testing.T, path string) {
			write(t, path, "", 0o600)
		}, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keys")
			row.plant(t, path)
			require.ErrorContains(t, secretfile.MakeDir(path), row.want)
		})
	}
}

func TestMakeDirMakesAPrivateDirectoryOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, secretfile.MakeDir(path))
	require.NoError(t, secretfile.MakeDir(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
}

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), mode))
	require.NoError(t, os.Chmod(path, mode)) // whatever the umask is
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
