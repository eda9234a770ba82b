package file

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// systemd lets a service's own user at a credential by an access control list;
// stat(2) shows 0440 then, and the unit in deploy/systemd is such a service.
func TestCredentialOfAServiceUserIsRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "root")
	require.NoError(t, os.WriteFile(path, []byte(passphrase), 0o600))
	getenv := func(string) string { return dir }
	for mode, allowed := range map[os.FileMode]bool{0o400: true, 0o440: true, 0o640: true, 0o444: false, 0o460: false} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := Passphrase(PassphraseSource{Credential: "root"}, getenv)
		require.Equal(t, allowed, err == nil, "mode %04o: %v", mode, err)
		_, err = Passphrase(PassphraseSource{File: path}, getenv)
		require.Equal(t, mode&0o077 == 0, err == nil, "a file of mode %04o: %v", mode, err)
	}
}
