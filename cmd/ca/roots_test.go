package main

import (
	"bytes"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/ca/vault/vaulttest"
)

// TestRootsCommandsWork runs the commands of docs/roots.md, byte for byte but for
// the port, from an empty Vault to a certificate.
func TestRootsCommandsWork(t *testing.T) {
	raw, err := os.ReadFile("../../docs/roots.md")
	require.NoError(t, err)
	block, _, _ := strings.Cut(strings.Split(string(raw), "```sh\n")[1], "```")
	commands := strings.Split(strings.TrimSpace(block), "\n")
	require.Less(t, len(commands), 10, "from an empty Vault to a running Kedge in under ten commands")
	last := commands[len(commands)-1]
	require.True(t, strings.HasPrefix(last, "ca serve "), last)

	v := vaulttest.Start(t)
	addr, err := freeAddr()
	require.NoError(t, err)
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(buildCA(t), "ca"), filepath.Join(bin, "ca")))
	require.NoError(t, os.Symlink(v.Binary(), filepath.Join(bin, "vault")))
	shell := func(script string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(script, "127.0.0.1:8443", addr))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir,
			"VAULT_ADDR="+v.Address, "VAULT_CACERT="+v.CAFile, "VAULT_TOKEN="+v.RootToken, "KEDGE_ADMIN_SOCKET="+filepath.Join(dir, "kedge", "admin.sock"))
		return cmd
	}
	out, err := shell(strings.Join(commands[:len(commands)-1], "\n")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "Status check results are √")

	server := shell("exec " + last)
	var log bytes.Buffer
	server.Stderr = &log
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	// The reader's next steps: a certificate, and a renewal of the intermediate.
	out, err = shell(`for _ in $(seq 100); do [[ -S $KEDGE_ADMIN_SOCKET ]] && break; sleep .1; done
		(umask 077; ca token create --identity spiffe://example.org/vm/db-1 > token)
		ca intermediate renew
		ca bundle export > bundle.pem
		ca issue --server ` + addr + ` --server-name localhost --bundle bundle.pem --token-file token --out w
		openssl verify -CAfile bundle.pem -untrusted w/tls.crt w/tls.crt
		ca fips --server`).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "root: vault-pki, version 1.19.0 (asserted by the operator)")
	require.Contains(t, string(out), "w/tls.crt: OK")
	audit, err := os.ReadFile(v.AuditFile)
	require.NoError(t, err)
	require.Equal(t, 2*4, strings.Count(string(audit), `"path":"pki/issuer/kedge-root/sign-intermediate"`),
		"request and answer: at init one that it cannot sign and one that it signs, another of the first kind at the preflight, and the renewal; nothing else")
}

// rootSite is a site whose root is a transit key, and whose keys are sealed in
// Vault, under the root token.
func rootSite(t *testing.T, v *vaulttest.Server) site {
	t.Helper()
	return rootSiteAt(t, v, time.Now())
}

func rootSiteAt(t *testing.T, v *vaulttest.Server, made time.Time, changes ...func(*config)) site {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(v.RootToken), 0o600))
	v.EnableEngine("transit", "transit")
	_, err := v.Request("POST", "transit/keys/kek", map[string]any{"type": "aes256-gcm96"})
	require.NoError(t, err)
	a := at(made)
	return newSite(t, a, t.TempDir(), func(c *config) {
		c.Root.Type = rootVaultTransit
		c.Vault = vaultConfig{Address: v.Address, CAFile: v.CAFile, Login: vaultLoginConfig{Type: string(vault.LoginToken), TokenFile: token}}
		c.Keys.KEK = kekConfig{Mount: "transit", Key: "kek"}
		for _, change := range changes {
			change(c)
		}
	})
}

// TestRootChecks has a row for each thing that a check of a root in Vault complains
// of, and holds docs/checks.md to the ids.
func TestRootChecks(t *testing.T) {
	v := vaulttest.Start(t)
	s := rootSite(t, v)
	a := at(time.Now())
	a.now = time.Now
	seen := checked{}
	check := func(change func(*config)) string {
		cfg := s.config
		change(&cfg)
		results := a.checkRoot(t.Context(), cfg)
		seen.note(results)
		return strings.Join(notWell(results), "\n")
	}
	well := check(func(*config) {})
	require.Equal(t, "warn root-login: token-file: the token has the policy root\nwarn root-token-life: token-file: the token never ends: who steals it keeps it", well)
	require.Contains(t, check(func(c *config) { c.FIPS.RequireExternal = true }), "fail root-fips: ")
	require.Contains(t, check(func(c *config) { c.Vault.Login.TokenFile = "/none" }), "fail root-login: ")
	require.Contains(t, check(func(c *config) { c.Root.KeyVersion = 7 }), "fail root-key: ")
	require.Contains(t, check(func(c *config) { c.Root.Dir = "/none" }), "fail root-issuer: ")
	require.Contains(t, check(func(c *config) { c.Vault.Address = "https://127.0.0.1:1" }), "fail root-reachable: ")

	other := makeSite(t, at(time.Now()))
	require.Regexp(t, "fail root-bundle: signs under anchor .*, and [0-9a-f]{8} is not in it", check(func(c *config) { c.DataDir = other.config.DataDir }))
	broken := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(broken, "db"), nil, 0o600))
	require.Contains(t, check(func(c *config) { c.DataDir = broken }), "warn root-bundle: "+broken)
	require.NotContains(t, check(func(c *config) { c.DataDir = t.TempDir() }), "root-bundle", "no data directory, nothing to compare")

	few := filepath.Join(t.TempDir(), "few")
	require.NoError(t, os.WriteFile(few, []byte(v.PolicyToken(vault.HCL(vault.TokenRules()), map[string]any{"ttl": "1h"})), 0o600))
	missing := check(func(c *config) { c.Vault.Login.TokenFile = few })
	require.Contains(t, missing, "fail root-permissions: transit/keys/kedge-root: not permitted")
	require.NotContains(t, missing, "root-login")

	ahead := at(time.Now().Add(time.Hour))
	require.Contains(t, strings.Join(notWell(ahead.checkRoot(t.Context(), s.config)), "\n"), "fail root-clock: ")
	late := at(time.Now().Add(ca.RootLifetime - 24*time.Hour))
	require.Contains(t, strings.Join(notWell(late.checkRoot(t.Context(), s.config)), "\n"), "warn root-chain-life: ")

	v.Seal()
	require.Contains(t, check(func(*config) {}), "fail root-reachable: "+v.Address+": it is sealed")

	raw, err := os.ReadFile("../../docs/checks.md")
	require.NoError(t, err)
	documented := checked{}
	for _, m := range regexp.MustCompile(`(?m)^## (root-[a-z-]+)$`).FindAllStringSubmatch(string(raw), -1) {
		if m[1] != "root-files" {
			documented[m[1]] = true
		}
	}
	require.Equal(t, documented, seen)
}

// TestARootIsHeldToTheActiveAnchor: a published anchor that does not sign is no better
// than a stranger.
func TestARootIsHeldToTheActiveAnchor(t *testing.T) {
	c := catest.New(t)
	for _, row := range []struct {
		name   string
		anchor *x509.Certificate
		level  ca.Level
		detail string
	}{
		{"the active one", c.Root, ca.LevelOK, "is the active one of bundle 1"},
		{"the standby", c.Standby, ca.LevelFail, "is in it as standby: no renewal can work"},
		{"a stranger", catest.New(t).Root, ca.LevelFail, "is not in it: no renewal can work"},
	} {
		f := judgeAnchor(row.anchor, c.Bundle)
		require.Equal(t, row.level, f.Level, row.name)
		require.Contains(t, f.Detail, row.detail, row.name)
	}
}

func TestEveryVaultMetricIsDocumented(t *testing.T) {
	m := newVaultMetrics()
	m.status = func() vault.Status { return vault.Status{LoggedIn: true, TokenEnd: time.Unix(1, 0)} }
	m.observe(vault.Observation{Operation: "login", Took: time.Second})
	m.observe(vault.Observation{Operation: "login", Reason: ca.ReasonRootSealed, Took: time.Second})
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(m))
	families, err := registry.Gather()
	require.NoError(t, err)
	var got []string
	for _, f := range families {
		got = append(got, describeMetric(f))
	}
	doc, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	require.Equal(t, got, documentedMetrics(t, string(doc), "With Vault"))
}

// documentedMetrics is what a section of docs/metrics.md has.
func documentedMetrics(t *testing.T, doc, section string) []string {
	t.Helper()
	_, text, found := strings.Cut(doc, "\n## "+section+"\n")
	require.True(t, found)
	text, _, _ = strings.Cut(text, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(kedge_[a-z_]+)` \\| (\\w+) \\| (.*?) \\| .+ \\|$").FindAllStringSubmatch(text, -1) {
		documented = append(documented, strings.TrimSpace(row[1]+" "+row[2]+" "+strings.ReplaceAll(strings.ReplaceAll(row[3], "`", ""), " ", "")))
	}
	return documented
}

func describeMetric(f *dto.MetricFamily) string {
	var labels []string
	for _, l := range f.GetMetric()[0].GetLabel() {
		labels = append(labels, l.GetName())
	}
	return strings.TrimSpace(f.GetName() + " " + strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, ","))
}

// TestVaultSettingsThatCannotWorkAreRefused has a row for each.
func TestVaultSettingsThatCannotWorkAreRefused(t *testing.T) {
	const keys = "keys: {type: ecdsa-p256, passphrase: {env: P}}\n"
	connection := "vault: {address: \"https://v:8200\", caFile: /c, login: {type: token-file, tokenFile: /t}}\n"
	for name, row := range map[string]struct{ file, want string }{
		"no such root":            {"root: {type: floppy}\n" + keys, `root.type: "floppy" is none of`},
		"no mount":                {"root: {type: vault-pki}\n" + keys + connection, "root.mount: "},
		"mount with dots":         {"root: {type: vault-pki, mount: ../sys}\n" + keys + connection, "root.mount: "},
		"key of a PKI root":       {"root: {type: vault-pki, mount: pki, key: k}\n" + keys + connection, "root.key: a root in Vault's PKI engine does not read it"},
		"passphrase of a PKI":     {"root: {type: vault-pki, mount: pki, passphrase: {env: P}}\n" + keys + connection, "root.passphrase: "},
		"transit without version": {"root: {type: vault-transit, mount: transit, key: k}\n" + keys + connection, "root.keyVersion: "},
		"version of a local root": {"root: {type: local, passphrase: {env: P}, keyVersion: 1}\n" + keys, "root.keyVersion: "},
		"no connection":           {"root: {type: vault-pki, mount: pki}\n" + keys, "vault: "},
		"connection for nothing":  {"root: {type: local, passphrase: {env: P}}\n" + keys + connection, "vault: neither root nor keys are in Vault"},
		"http":                    {"root: {type: vault-pki, mount: pki}\n" + keys + strings.Replace(connection, "https", "http", 1), "is not https://host:port"},
		"no login":                {"root: {type: vault-pki, mount: pki}\n" + keys + "vault: {address: \"https://v:8200\", caFile: /c}\n", `login type "" is none of`},
		"relative token file":     {"root: {type: vault-pki, mount: pki}\n" + keys + strings.Replace(connection, "File: /t", "File: t", 1), "vault.login.tokenFile: "},
		"passphrase and kek":      {"root: {type: local, passphrase: {env: P}}\nkeys: {type: ecdsa-p256, passphrase: {env: P}, kek: {mount: transit, key: k}}\n" + connection, "keys.passphrase: a store with a key-encryption key does not read it"},
		"no such store":           {"root: {type: local, passphrase: {env: P}}\nkeys: {store: drawer}\n", `keys.store: "drawer" is none of`},
		"store without prefix":    {"root: {type: local, passphrase: {env: P}}\nkeys: {store: vault-transit, mount: transit}\n" + connection, "keys.prefix: "},
		"prefix over the root":    {"root: {type: vault-transit, mount: transit, key: k-intermediate-root, keyVersion: 1}\nkeys: {store: vault-transit, mount: transit, prefix: k-}\n" + connection, "would reach the root's own"},
		"prefix of files":         {"root: {type: local, passphrase: {env: P}}\nkeys: {passphrase: {env: P}, prefix: a}\n", "keys.prefix: a store of files does not read it"},
		"upstream without socket": {"root: {type: upstream}\n" + keys, "upstream.socket: "},
		"socket for nothing":      {"root: {type: local, passphrase: {env: P}}\n" + keys + "upstream: {socket: /s}\n", "upstream: neither root nor keys"},
	} {
		_, err := parseConfig("ca.yaml", []byte("trustDomain: example.org\n"+row.file))
		require.ErrorContains(t, err, row.want, name)
	}
}

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
