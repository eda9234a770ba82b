package secretfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
)

// dated is the directory that kubelet writes one version of a Secret to.
const dated = "..2026_11_24_08_00_00.123456789"

// mountSecret makes what kubelet mounts for a Secret (its AtomicWriter), with
// fsGroup: a sticky directory that everyone may write to, and files of mode 0440.
func mountSecret(t *testing.T, content string, mode os.FileMode) (dir, path string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "secrets")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Chmod(dir, 0o777|os.ModeSticky|os.ModeSetgid))
	require.NoError(t, os.Mkdir(filepath.Join(dir, dated), 0o755))
	write(t, filepath.Join(dir, dated, "root-passphrase"), content, mode)
	require.NoError(t, os.Symlink(dated, filepath.Join(dir, "..data")))
	path = filepath.Join(dir, "root-passphrase")
	require.NoError(t, os.Symlink("..data/root-passphrase", path))
	return dir, path
}

func TestMountedSecretIsRead(t *testing.T) {
	for _, mode := range []os.FileMode{0o400, 0o440, 0o600, 0o640} {
		t.Run(fmt.Sprintf("%04o", mode), func(t *testing.T) {
			dir, path := mountSecret(t, "secret", mode)
			content, err := secretfile.ReadMounted(path, limit)
			require.NoError(t, err)
			require.Equal(t, "secret", string(content))

			// kubelet writes a new version, and renames a new ..data over the old one.
			next := filepath.Join(dir, "..2026_11_25")
			require.NoError(t, os.Mkdir(next, 0o755))
			write(t, filepath.Join(next, "root-passphrase"), "the next", mode)
			require.NoError(t, os.Symlink("..2026_11_25", filepath.Join(dir, "..data_tmp")))
			require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
			content, err = secretfile.ReadMounted(path, limit)
			require.NoError(t, err)
			require.Equal(t, "the next", string(content))
			_, err = secretfile.Read(path, limit)
			require.ErrorContains(t, err, "symbolic link", "keys are read like this")
		})
	}
}

// replace puts another link in the place of a name in the mount.
func replace(t *testing.T, target, name string) {
	t.Helper()
	require.NoError(t, os.Remove(name))
	require.NoError(t, os.Symlink(target, name))
}

func TestMountedSecretIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(t *testing.T, dir, path string)
		want  string
	}{
		"a link by an absolute name, even into its directory": {func(t *testing.T, dir, path string) {
			replace(t, filepath.Join(dir, dated, "root-passphrase"), path)
		}, "symbolic link out of its directory"},
		"a link to the parent": {func(t *testing.T, dir, path string) {
			write(t, filepath.Join(dir, "..", "elsewhere"), "secret", 0o400)
			replace(t, "../elsewhere", path)
		}, "symbolic link out of its directory"},
		"a link that goes out and comes back": {func(t *testing.T, _, path string) {
			replace(t, "../secrets/"+dated+"/root-passphrase", path)
		}, "symbolic link out of its directory"},
		"a directory on its way that is a link out": {func(t *testing.T, dir, _ string) {
			outside := filepath.Join(dir, "..", "outside")
			require.NoError(t, os.Mkdir(outside, 0o755))
			write(t, filepath.Join(outside, "root-passphrase"), "secret", 0o400)
			replace(t, "../outside", filepath.Join(dir, "..data"))
		}, "symbolic link out of its directory"},
		"links in a circle": {func(t *testing.T, dir, path string) {
			replace(t, "other", path)
			require.NoError(t, os.Symlink("root-passphrase", filepath.Join(dir, "other")))
		}, "more than 8 symbolic links"},
		"a link to nothing": {func(t *testing.T, _, path string) {
			replace(t, "gone", path)
		}, "no such file"},
		"a link to its directory": {func(t *testing.T, _, path string) {
			replace(t, ".", path)
		}, "directory, not a regular file"},
		"a link to a directory": {func(t *testing.T, _, path string) {
			replace(t, "..data", path)
		}, "directory, not a regular file"},
		"a file where a directory should be": {func(t *testing.T, _, path string) {
			replace(t, "..data/root-passphrase/more", path)
		}, "regular file, not a directory"},
		"a FIFO that nobody writes to": {func(t *testing.T, dir, path string) {
			require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
			replace(t, "fifo", path)
		}, "FIFO, not a regular file"},
		"a file that everyone may read, as a Secret has it by default": {func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Chmod(filepath.Join(dir, dated, "root-passphrase"), 0o644))
		}, "set defaultMode: 0400"},
		"a file that its group may write": {func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Chmod(filepath.Join(dir, dated, "root-passphrase"), 0o660))
		}, "mode 0660 lets others at it"},
		"a directory that others may write to": {func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Chmod(dir, 0o777))
		}, "others can replace what is in . on its way (mode 0777)"},
		"a directory on its way that its group may write to": {func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Chmod(filepath.Join(dir, dated), 0o775))
		}, "others can replace what is in " + dated},
		"a file above the limit": {func(t *testing.T, dir, _ string) {
			file := filepath.Join(dir, dated, "root-passphrase")
			require.NoError(t, os.Remove(file))
			write(t, file, "seventeen bytes!!", 0o400)
		}, "larger than 16 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, path := mountSecret(t, "secret", 0o440)
			row.spoil(t, dir, path)
			_, err := secretfile.ReadMounted(path, limit)
			require.ErrorContains(t, err, row.want)
			require.ErrorContains(t, err, path)
		})
	}
}

func TestMountedSecretOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away; the rule is tested where the suite runs as root")
	}
	for name, row := range map[string]struct {
		uid, gid int
		file     string
		want     string
	}{
		"the file":                {12345, 0, dated + "/root-passphrase", "root-passphrase, which it leads to, belongs to uid 12345"},
		"the group that reads":    {0, 12345, dated + "/root-passphrase", "its group 12345 may read it, and is none of this process's"},
		"the link":                {12345, 0, "root-passphrase", "root-passphrase, which it leads to, belongs to uid 12345"},
		"the link to a version":   {12345, 0, "..data", "..data, which it leads to, belongs to uid 12345"},
		"the version":             {12345, 0, dated, dated + ", which it leads to, belongs to uid 12345"},
		"the directory of it all": {12345, 0, ".", "., which it leads to, belongs to uid 12345"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, path := mountSecret(t, "secret", 0o440)
			require.NoError(t, os.Lchown(filepath.Join(dir, row.file), row.uid, row.gid))
			_, err := secretfile.ReadMounted(path, limit)
			require.ErrorContains(t, err, row.want)
		})
	}
}

// Without a link there is nothing that kubelet has made, and nothing is relaxed.
func TestReadMountedOfAPlainFileIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "secret", 0o400)
	content, err := secretfile.ReadMounted(path, limit)
	require.NoError(t, err)
	require.Equal(t, "secret", string(content))
	require.NoError(t, os.Chmod(path, 0o440))
	_, err = secretfile.ReadMounted(path, limit)
	require.ErrorContains(t, err, "run chmod 0400")
}
