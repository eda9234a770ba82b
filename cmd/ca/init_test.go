package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

// initIn is ca init into a directory, with everything generated.
func initIn(dir string) *initOptions {
	o := &initOptions{config: defaultConfig(), secretsDir: filepath.Join(dir, "etc", "kedge", "secrets"), configPath: filepath.Join(dir, "etc", "kedge", "ca.yaml")}
	o.config.TrustDomain, o.config.DataDir = "example.org", filepath.Join(dir, "var", "lib", "kedge")
	return o
}

// What ca init cannot do it says before it makes anything: a second try would
// find the half of the first in its way.
func TestInitThatIsRefusedMakesNothing(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, o *initOptions){
		"a trust domain that is none": func(_ *testing.T, o *initOptions) { o.config.TrustDomain = "Example.Org" },
		"no place for passphrases":    func(_ *testing.T, o *initOptions) { o.secretsDir = "" },
		"a key type that is none":     func(_ *testing.T, o *initOptions) { o.config.Keys.Type = "ed25519" },
		"passphrases that are there": func(t *testing.T, o *initOptions) {
			o.secretsDir = t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(o.secretsDir, "keys-passphrase"), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := initIn(dir)
			spoil(t, o)
			require.Error(t, o.complete())
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}

// The example of docs/operations.md, on a machine that has neither /etc/kedge nor
// /var/lib/kedge.
func TestInitMakesTheDirectoriesAboveItsFiles(t *testing.T) {
	for name, arrange := range map[string]func(o *initOptions, dir string){
		"as the example has it": func(*initOptions, string) {},
		"roots elsewhere": func(o *initOptions, dir string) {
			o.config.Root.Dir, o.standbyDir = filepath.Join(dir, "srv", "root"), filepath.Join(dir, "mnt", "standby")
		},
		"secrets beside the configuration": func(o *initOptions, _ string) { o.secretsDir = filepath.Dir(o.configPath) },
		"everything in one":                func(o *initOptions, _ string) { o.secretsDir, o.configPath = o.config.DataDir, "" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := initIn(dir)
			arrange(o, dir)
			require.NoError(t, o.complete())
			policy, err := fips.PolicyByName(o.config.FIPS.Profile)
			require.NoError(t, err)
			_, err = at(time.Now()).makeAuthority(t.Context(), o, policy)
			require.NoError(t, err)
			require.NoError(t, o.writeConfig())
			_, err = loadConfig(o.configPath)
			require.NoError(t, err)
		})
	}
}
