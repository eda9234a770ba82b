package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKeysPrefixCoversNoOtherKey has configurations whose policy would reach a key
// that the server must not touch: the root's own, which the token could then delete,
// or those of another replica.
func TestKeysPrefixCoversNoOtherKey(t *testing.T) {
	c := defaultConfig()
	c.Root.Type, c.Root.Mount, c.Root.Key, c.Root.KeyVersion = rootVaultTransit, "transit", "kedge-root", 1
	c.Keys.Store, c.Keys.Mount, c.Keys.Prefix, c.Keys.Type = keysVaultTransit, "transit", "kedge-", "ecdsa-p256"
	b, err := at(time.Now()).openVaultBackends(c)
	require.NoError(t, err)
	for _, r := range b.rules(false) {
		for _, capability := range r.Capabilities {
			if capability == "delete" || capability == "update" {
				require.False(t, covers(r.Path, "transit/keys/kedge-root"), "%s %v reaches the root key", r.Path, r.Capabilities)
				require.False(t, covers(r.Path, "transit/keys/kedge-root/config"), "%s %v makes the root key exportable", r.Path, r.Capabilities)
				require.False(t, covers(r.Path, "transit/keys/kedge-10-intermediate-0123456789abcdef"), "%s %v reaches the keys of replica kedge-10-", r.Path, r.Capabilities)
			}
		}
	}
}

func covers(pattern, path string) bool {
	n := len(pattern) - 1
	return pattern == path || pattern[n] == '*' && len(path) >= n && path[:n] == pattern[:n]
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
		"a setup token that is none":          {[]string{"--root", "vault-pki", "--root-name", "zero", "--vault-setup-token-file", v.file("none", "garbage")}, "pki/issuer/zero/json"},
		"an AppRole without the policy":       {[]string{"--root", "vault-pki", "--root-name", "one"}, "pki/issuer/one/json"},
		"the same, for a root key in transit": {[]string{"--root", "vault-transit", "--root-name", "two"}, "transit/keys/two"},
		"a secret id that is none":            {[]string{"--root", "vault-pki", "--root-name", "three", "--vault-secret-id-file", v.file("bad", "garbage")}, "pki/issuer/three/json"},
		"an import file that is not there":    {[]string{"--root", "vault-pki", "--root-name", "four", "--root-from", "import", "--root-import-file", "/none"}, "pki/issuer/four/json"},
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
