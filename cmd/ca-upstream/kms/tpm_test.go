package kms_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/cmd/ca-upstream/kms"
	"github.com/kedge-ca/kedge/fips"
)

// softTPM is a TPM 2.0 played by swtpm, which talks as a real one does, over a socket.
type softTPM struct {
	state, socket string
	process       *exec.Cmd
}

// startTPM starts a TPM of its own for a test, which ends with it.
func startTPM(t *testing.T) *softTPM {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("swtpm is missing (Debian: apt-get install swtpm)")
	}
	dir, err := os.MkdirTemp("", "tpm") // a socket's path has to be short
	require.NoError(t, err)
	tpm := &softTPM{state: t.TempDir(), socket: filepath.Join(dir, "tpm.sock")}
	t.Cleanup(func() {
		tpm.stop(t)
		require.NoError(t, os.RemoveAll(dir))
	})
	tpm.start(t)
	return tpm
}

func (p *softTPM) start(t *testing.T) {
	t.Helper()
	p.process = exec.Command("swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear",
		"--tpmstate", "dir="+p.state, "--server", "type=unixio,path="+p.socket)
	require.NoError(t, p.process.Start())
	require.Eventually(t, func() bool {
		conn, err := net.Dial("unix", p.socket)
		return err == nil && conn.Close() == nil
	}, 10*time.Second, 5*time.Millisecond, "swtpm does not listen")
}

func (p *softTPM) stop(t *testing.T) {
	t.Helper()
	if p.process == nil {
		return
	}
	require.NoError(t, p.process.Process.Signal(os.Interrupt))
	_ = p.process.Wait() // it ends by the signal
	p.process = nil
	_ = os.Remove(p.socket)
}

// uri is that of the TPM; what it seals for its keys is kept in a directory.
func (p *softTPM) uri(keys string) string {
	return fmt.Sprintf("tpmkms:device=%s;storage-directory=%s", p.socket, keys)
}

// keyDir names a directory for what a TPM has sealed.
func keyDir(t *testing.T) string { return filepath.Join(t.TempDir(), "keys") }

const tpmRootURI = "tpmkms:name=root"

// tpmRoot makes a root key in a TPM.
func tpmRoot(t *testing.T, uri string, keyType fips.KeyType) (*kms.Manager, *kms.Root) {
	t.Helper()
	m := openToken(t, uri)
	require.NoError(t, m.CreateRootKey(t.Context(), tpmRootURI, keyType))
	signer, err := m.Signer(tpmRootURI, nil)
	require.NoError(t, err)
	root, err := m.Root(tpmRootURI, upstreamtest.NewRootWith(t, signer, time.Now()).Certificate)
	require.NoError(t, err)
	return m, root
}

func TestTPMRootConforms(t *testing.T) {
	for _, keyType := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384} {
		t.Run(string(keyType), func(t *testing.T) {
			_, root := tpmRoot(t, startTPM(t).uri(keyDir(t)), keyType)
			conformRoot(t, root)
		})
	}
}

func TestTPMKeysConform(t *testing.T) {
	for _, keyType := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384} {
		t.Run(string(keyType), func(t *testing.T) {
			tpm := startTPM(t)
			dirs := map[string]string{} // one for each test, the same when it opens again
			conformKeys(t, true, func(t *testing.T) ca.KeyStore {
				if dirs[t.Name()] == "" {
					dirs[t.Name()] = keyDir(t)
				}
				keys, err := openToken(t, tpm.uri(dirs[t.Name()])).Keys("tpmkms:name={name}", keyType)
				require.NoError(t, err)
				return keys
			})
		})
	}
}

// TestAKeyOutlivesItsTPMsProcess: the connection is made anew, and the key is still
// that of the same TPM.
func TestAKeyOutlivesItsTPMsProcess(t *testing.T) {
	tpm := startTPM(t)
	keys, err := openToken(t, tpm.uri(keyDir(t))).Keys("tpmkms:name={name}", fips.ECDSAP256)
	require.NoError(t, err)
	key, err := keys.Create(t.Context(), "int-1")
	require.NoError(t, err)
	tpm.stop(t)
	require.Error(t, sign(key), "without a TPM there is no signature")
	tpm.start(t)
	require.NoError(t, sign(key))
}

// sign signs a message and verifies the signature.
func sign(key ca.Key) error {
	scheme, err := fips.SchemeFor(key.Public())
	if err != nil {
		return err
	}
	message := []byte("a message")
	signature, err := fips.Sign(key, scheme, message)
	if err != nil {
		return err
	}
	return fips.Verify(key.Public(), scheme, message, signature)
}

func TestAnotherTPMHasNoUseForItsKeys(t *testing.T) {
	dir := keyDir(t)
	m, _ := tpmRoot(t, startTPM(t).uri(dir), fips.ECDSAP256)
	_, err := m.Signer(tpmRootURI, nil)
	require.NoError(t, err)
	_, err = openToken(t, startTPM(t).uri(dir)).Signer(tpmRootURI, nil)
	require.ErrorContains(t, err, "opening key")
	require.NotErrorIs(t, err, os.ErrNotExist)
}

func TestTPMRootKeyIsMadeOnce(t *testing.T) {
	m, _ := tpmRoot(t, startTPM(t).uri(keyDir(t)), fips.ECDSAP256)
	require.ErrorIs(t, m.CreateRootKey(t.Context(), tpmRootURI, fips.ECDSAP256), os.ErrExist)
}

// TestTPMMakesNoLargeRSAKeys pins a limit of the driver that docs/upstream.md names.
func TestTPMMakesNoLargeRSAKeys(t *testing.T) {
	m := openToken(t, startTPM(t).uri(keyDir(t)))
	err := m.CreateRootKey(t.Context(), tpmRootURI, fips.RSA3072)
	require.ErrorContains(t, err, "maximum is 2048")
}

func TestTPMsThatWouldBeMistakenAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	open := filepath.Join(dir, "open")
	require.NoError(t, os.Mkdir(open, 0o755))
	require.NoError(t, os.Chmod(open, 0o755))
	for uri, want := range map[string]string{
		"tpmkms:":                          "needs storage-directory",
		"tpmkms:storage-directory=tpm":     "needs storage-directory",
		"tpmkms:storage-directory=" + open: "chmod 0700",
		"tpmkms:storage-directory=" + dir + "/k;device=" + dir + "/none": "no such file",
		"tpmkms:storage-directory=" + dir + "/k;device=" + file:          "nor a socket",
		"tpmkms:storage-directory=" + dir + "/k;device=/dev/null":        "nor a socket",
	} {
		_, err := kms.Open(t.Context(), kms.Config{URI: uri, Policy: upstreamtest.Policy(t)})
		require.ErrorContains(t, err, want, uri)
	}
	require.NoDirExists(t, dir+"/k")
}
