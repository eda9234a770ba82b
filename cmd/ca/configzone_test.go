package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/rotation"
)

const minimalZone = `trustDomain: example.org
dataDir: /var/lib/kedge
keys: {passphrase: {file: /etc/kedge/keys}}
primary: {address: "ca.example.org:8444", tokenFile: /etc/kedge/token}
`

func TestZoneNeedsNoRoot(t *testing.T) {
	cfg, err := parseConfig("ca.yaml", []byte(minimalZone))
	require.NoError(t, err)
	require.True(t, cfg.isZone())
	require.Zero(t, cfg.Root)
	require.Empty(t, cfg.Zone.Name, "the token says it")
	cfg, err = parseConfig("ca.yaml", []byte(minimalConfig))
	require.NoError(t, err)
	require.False(t, cfg.isZone())
	cfg, err = parseConfig("ca.yaml", []byte(minimalConfig+"nextRoot: {type: local, passphrase: {file: /etc/kedge/next}}\n"))
	require.NoError(t, err)
	require.Equal(t, "/var/lib/kedge/next-root", cfg.NextRoot.Dir)
}

// TestZoneConfigurationIsRefused has one row for each refusal.
func TestZoneConfigurationIsRefused(t *testing.T) {
	for name, row := range map[string]struct{ base, add, want string }{
		"root in a zone":             {minimalZone, "root: {passphrase: {file: /r}}\n", "ca.yaml:5:7: root: a zone has its intermediates from its primary"},
		"next root in a zone":        {minimalZone, "nextRoot: {type: local, passphrase: {file: /r}}\n", "nextRoot: a zone has"},
		"zones of a zone":            {minimalZone, "zones: {listen: \"0.0.0.0:1\"}\n", "zones: a zone has"},
		"token that is relative":     {"trustDomain: example.org\ndataDir: /d\nkeys: {passphrase: {file: /k}}\n", "primary: {address: \"a:1\", tokenFile: token}\n", "primary.tokenFile: \"token\" is not an absolute path"},
		"rotation in a zone":         {"trustDomain: example.org\ndataDir: /d\nkeys: {passphrase: {file: /k}}\n", "primary: {address: \"a:1\"}\nrotation: {mode: auto}\n", "rotation: the primary runs rotations"},
		"two tokens":                 {"trustDomain: example.org\ndataDir: /d\nkeys: {passphrase: {file: /k}}\n", "primary: {address: \"a:1\", tokenFile: /t, tokenEnv: T}\n", "name one of tokenFile and tokenEnv"},
		"primary without a port":     {"trustDomain: example.org\ndataDir: /d\nkeys: {passphrase: {file: /k}}\n", "primary: {address: a}\n", "primary.address: \"a\" is not host:port"},
		"primary without an address": {"trustDomain: example.org\ndataDir: /d\nkeys: {passphrase: {file: /k}}\n", "primary: {tokenFile: /t}\n", "primary.address"},
		"zone with a capital":        {minimalZone, "zone: {name: EU}\n", "zone.name: \"EU\": 1 to 63"},
		"replica with a dot":         {minimalZone, "zone: {replica: a.b}\n", "zone.replica: \"a.b\""},
		"zones without a port":       {minimalConfig, "zones: {listen: localhost}\n", "zones.listen"},
		"next root without a type":   {minimalConfig, "nextRoot: {passphrase: {file: /r}}\n", "nextRoot.type: \"\" is none of"},
		"next root in no mount":      {minimalConfig, "nextRoot: {type: vault-pki}\n", "nextRoot.mount"},
	} {
		_, err := parseConfig("ca.yaml", []byte(row.base+row.add))
		require.ErrorContains(t, err, row.want, name)
	}
}

func TestDataDirectoryIsThatOfOneReplica(t *testing.T) {
	cfg := defaultConfig()
	cfg.DataDir = t.TempDir()
	unnamed := cfg
	unnamed.DataDir = t.TempDir()
	own, err := ownMembership(unnamed)
	require.NoError(t, err)
	require.EqualValues(t, primaryZone, own.Zone)
	cfg.Zone = zoneConfig{Name: "eu-1", Replica: "a"}
	first, err := ownMembership(cfg)
	require.NoError(t, err)
	require.Equal(t, membership{Zone: "eu-1", Replica: "a"}, first)
	cfg.Zone.Replica = "" // a host that has another name now
	again, err := ownMembership(cfg)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.NoError(t, first.keep(cfg))
	require.ErrorContains(t, membership{rotation.Zone("eu-2"), "a"}.keep(cfg), "already")
	for _, other := range []zoneConfig{{Name: "eu-2"}, {Replica: "b"}} {
		cfg.Zone = other
		_, err = ownMembership(cfg)
		require.ErrorContains(t, err, "the data directory is that of replica a of zone eu-1")
	}
}

// A server whose next root is in Vault asks Vault for that as well.
func TestPolicyForVaultCoversTheNextRoot(t *testing.T) {
	a, _, _ := testApp(time.Now())
	cfg := defaultConfig()
	cfg.NextRoot = rootConfig{Type: rootVaultPKI, Mount: "pki-next", Issuer: "next"}
	require.True(t, cfg.usesVault())
	b, err := a.openVaultBackends(cfg)
	require.NoError(t, err)
	var paths []string
	for _, r := range b.rules(false) {
		paths = append(paths, r.Path)
	}
	require.Contains(t, paths, "pki-next/issuer/next/sign-intermediate")
	cfg.Root = rootConfig{Type: rootVaultPKI, Mount: "pki"}
	b, err = a.openVaultBackends(cfg)
	require.NoError(t, err)
	require.Greater(t, len(b.rules(false)), len(paths), "both")
}
