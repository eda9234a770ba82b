package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPassphraseComesFromEachSource(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "root-passphrase")
	for name, row := range map[string]struct {
		content string
		want    string
	}{
		"as it is":                 {passphrase, passphrase},
		"without a newline at end": {passphrase + "\n", passphrase},
		"without CR LF at the end": {passphrase + "\r\n", passphrase},
		"spaces belong to it":      {"  " + passphrase + " \n", "  " + passphrase + " "},
		"of the greatest length":   {strings.Repeat("x", MaxPassphrase) + "\r\n", strings.Repeat("x", MaxPassphrase)},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(row.content), 0o600))
			env := map[string]string{"KEDGE_PASSPHRASE": row.content, "CREDENTIALS_DIRECTORY": dir}
			getenv := func(name string) string { return env[name] }
			for _, source := range []PassphraseSource{{File: path}, {Env: "KEDGE_PASSPHRASE"}, {Credential: "root-passphrase"}} {
				got, err := Passphrase(source, getenv)
				require.NoError(t, err, "%+v", source)
				require.Equal(t, row.want, string(got), "%+v", source)
			}
		})
	}
}

func TestPassphraseComesFromAMountedSecret(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "..dated"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "..dated", "root"), []byte(passphrase), 0o400))
	require.NoError(t, os.Symlink("..dated", filepath.Join(dir, "..data")))
	require.NoError(t, os.Symlink("..data/root", filepath.Join(dir, "root")))
	got, err := Passphrase(PassphraseSource{File: filepath.Join(dir, "root")}, nil)
	require.NoError(t, err)
	require.Equal(t, passphrase, string(got))
	_, err = Passphrase(PassphraseSource{Credential: "root"}, func(string) string { return dir })
	require.ErrorContains(t, err, "symbolic link", "systemd makes none")
}

func TestPassphraseRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(file("good", passphrase, 0o600), link))
	escape := filepath.Join(dir, "escape")
	require.NoError(t, os.Symlink("../elsewhere", escape))
	env := map[string]string{"SHORT": "fifteen bytes!!"}
	withCredentials := map[string]string{"CREDENTIALS_DIRECTORY": dir}
	for name, row := range map[string]struct {
		source PassphraseSource
		env    map[string]string
		want   string
	}{
		"no source":                       {PassphraseSource{}, nil, "0 sources are given"},
		"two sources":                     {PassphraseSource{Env: "A", File: "b"}, nil, "2 sources are given"},
		"a file that others can read":     {PassphraseSource{File: file("open", passphrase, 0o640)}, nil, "run chmod 0600"},
		"a link to a file":                {PassphraseSource{File: link}, nil, "symbolic link"},
		"a link out of its directory":     {PassphraseSource{File: escape}, nil, "symbolic link out of its directory"},
		"a missing file":                  {PassphraseSource{File: filepath.Join(dir, "gone")}, nil, "no such file"},
		"a file above the limit":          {PassphraseSource{File: file("big", strings.Repeat("x", MaxPassphrase+1), 0o600)}, nil, "at most 4096"},
		"a file far above the limit":      {PassphraseSource{File: file("huge", strings.Repeat("x", 2*MaxPassphrase), 0o600)}, nil, "larger than"},
		"an empty file":                   {PassphraseSource{File: file("empty", "\n", 0o600)}, nil, "it has 0 bytes, at least 16"},
		"a short passphrase":              {PassphraseSource{Env: "SHORT"}, env, "it has 15 bytes, at least 16 are needed; make one"},
		"a newline does not count":        {PassphraseSource{File: file("short", "fifteen bytes!!\n", 0o600)}, nil, "it has 15 bytes"},
		"two lines":                       {PassphraseSource{File: file("two", passphrase+"\nmore\n", 0o600)}, nil, "more than one line"},
		"a NUL byte":                      {PassphraseSource{File: file("nul", passphrase+"\x00", 0o600)}, nil, "NUL byte"},
		"a variable that is not set":      {PassphraseSource{Env: "UNSET"}, nil, "UNSET is not set"},
		"a credential without systemd":    {PassphraseSource{Credential: "root"}, nil, "add LoadCredential=root:PATH"},
		"a credential with a path":        {PassphraseSource{Credential: "../good"}, withCredentials, "is a path"},
		"a credential of the parent":      {PassphraseSource{Credential: ".."}, withCredentials, "is a path"},
		"a credential that was not given": {PassphraseSource{Credential: "gone"}, withCredentials, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Passphrase(row.source, func(name string) string { return row.env[name] })
			require.ErrorContains(t, err, row.want)
			require.ErrorContains(t, err, "reading passphrase")
		})
	}
}
