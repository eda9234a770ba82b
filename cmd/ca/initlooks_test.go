package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/vault/vaulttest"
)

// vaultSetUp is a Vault with both engines, an AppRole that may do nothing, and the
// files that a ca init names.
type vaultSetUp struct {
	*vaulttest.Server
	t                     *testing.T
	dir                   string
	roleID, secret, setup string
}

func newVaultSetUp(t *testing.T) *vaultSetUp {
	t.Helper()
	v := &vaultSetUp{Server: vaulttest.Start(t), t: t, dir: t.TempDir()}
	v.EnableEngine("pki", "pki")
	v.EnableEngine("transit", "transit")
	roleID, secretID := v.NewAppRole(`path "auth/token/lookup-self" { capabilities = ["read"] }`)
	v.roleID, v.secret, v.setup = roleID, v.file("secret-id", secretID), v.file("setup", v.RootToken)
	return v
}

func (v *vaultSetUp) file(name, text string) string {
	v.t.Helper()
	path := filepath.Join(v.dir, name)
	require.NoError(v.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// refusesInit runs ca init, which must fail and leave nothing behind.
func (v *vaultSetUp) refusesInit(t *testing.T, flags ...string) {
	t.Helper()
	dir := t.TempDir()
	out, err := v.runInit(t, dir, flags...)
	require.Error(t, err)
	t.Logf("%s", out)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the next ca init refuses where anything is there already")
}

// runInit runs ca init into a directory.
func (v *vaultSetUp) runInit(t *testing.T, dir string, flags ...string) ([]byte, error) {
	t.Helper()
	args := append([]string{
		"init", "--trust-domain", "example.org", "--data-dir", filepath.Join(dir, "kedge"), "--config", filepath.Join(dir, "ca.yaml"),
		"--generate-passphrases", filepath.Join(dir, "secrets"), "--vault-address", v.Address, "--vault-ca-file", v.CAFile,
		"--vault-role-id", v.roleID, "--vault-secret-id-file", v.secret, "--vault-setup-token-file", v.setup, "--server-name", "localhost",
	}, flags...)
	return exec.CommandContext(t.Context(), filepath.Join(buildCA(t), "ca"), args...).CombinedOutput()
}

// TestInitHoldsAnExistingIssuerToWhatAnAnchorIsFirst is docs/roots.md: "it looks first
// whether it can".
func TestInitHoldsAnExistingIssuerToWhatAnAnchorIsFirst(t *testing.T) {
	v := newVaultSetUp(t)
	_, err := v.Request("POST", "pki/root/generate/internal", map[string]any{"common_name": "weak", "issuer_name": "weak", "key_type": "rsa", "key_bits": 2048, "ttl": "8760h"})
	require.NoError(t, err)
	v.refusesInit(t, "--root", "vault-pki", "--root-from", "existing", "--root-name", "weak")
}

// TestInitLooksBeforeItMakesAnything is docs/roots.md: "it looks first whether it can,
// and overwrites nothing". What it leaves behind stops the next ca init, and a root
// that it made in Vault for nothing stays there.
func TestInitLooksBeforeItMakesAnything(t *testing.T) {
	v := newVaultSetUp(t)
	for name, row := range map[string]struct {
		flags []string
		made  string // in Vault
	}{
		"a setup token that is none":                                          {[]string{"--root", "vault-pki", "--root-name", "zero", "--vault-setup-token-file", v.file("none", "garbage")}, "pki/issuer/zero/json"},
		"an AppRole without the policy":                                       {[]string{"--root", "vault-pki", "--root-name", "one"}, "pki/issuer/one/json"},
		"the same, for a root key in transit":                                 {[]string{"--root", "vault-transit", "--root-name", "two"}, "transit/keys/two"},
		"a secret id that is none":                                            {[]string{"--root", "vault-pki", "--root-name", "three", "--vault-secret-id-file", v.file("bad", "garbage")}, "pki/issuer/three/json"},
		"a local root, and a key-encryption key that the AppRole may not use": {[]string{"--kek-mount", "transit", "--kek-key", "kek"}, "transit/keys/kek"},
		"a root key that is not there":                                        {[]string{"--root", "vault-transit", "--root-from", "existing", "--root-name", "five"}, "transit/keys/five"},
		"a root key to import":                                                {[]string{"--root", "vault-transit", "--root-from", "import", "--root-import-file", v.secret, "--root-name", "six"}, "transit/keys/six"},
		"an import file that is not there":                                    {[]string{"--root", "vault-pki", "--root-name", "four", "--root-from", "import", "--root-import-file", "/none"}, "pki/issuer/four/json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() {
				if _, err := v.Request("GET", row.made, nil); err == nil {
					t.Errorf("it made %s in Vault", row.made)
				}
			})
			v.refusesInit(t, row.flags...)
		})
	}
}

// TestInitGoesOnWithAKeyThatAnInitHasLeft: the token for setting up made the root key
// and could not sign with it. The key stays in Vault, and the next ca init takes it
// when it is told to.
func TestInitGoesOnWithAKeyThatAnInitHasLeft(t *testing.T) {
	v := newVaultSetUp(t)
	policy, err := exec.CommandContext(t.Context(), filepath.Join(buildCA(t), "ca"), "vault", "policy", "--mode", "transit").CombinedOutput()
	require.NoError(t, err, "%s", policy)
	roleID, secretID := v.NewAppRole(string(policy))
	v.roleID, v.secret = roleID, v.file("secret-id", secretID)
	few := v.file("few", v.PolicyToken(`path "transit/keys/kedge-root" { capabilities = ["create", "read", "update"] }
		path "auth/token/lookup-self" { capabilities = ["read"] }`))

	out, err := v.runInit(t, t.TempDir(), "--root", "vault-transit", "--vault-setup-token-file", few)
	require.Error(t, err)
	require.Contains(t, string(out), "the transit key kedge-root was made and stays: go on with it (--root-from existing)")
	v.refusesInit(t, "--root", "vault-transit")
	dir := t.TempDir()
	out, err = v.runInit(t, dir, "--root", "vault-transit", "--root-from", "existing")
	require.NoError(t, err, "%s", out)
	require.FileExists(t, filepath.Join(dir, "ca.yaml"))
}
