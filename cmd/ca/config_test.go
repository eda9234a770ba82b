package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
)

const minimalConfig = `trustDomain: example.org
dataDir: /var/lib/kedge
root: {passphrase: {file: /etc/kedge/root}}
keys: {passphrase: {file: /etc/kedge/keys}}
`

func TestExampleConfigurationsAreValid(t *testing.T) {
	for _, dir := range []string{"config", "config-next"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "deploy", dir, "*.yaml"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			_, err := loadConfig(file)
			require.NoError(t, err)
		}
	}
}

func TestMinimalConfigurationGetsTheDefaults(t *testing.T) {
	cfg, err := parseConfig("ca.yaml", []byte(minimalConfig))
	require.NoError(t, err)
	require.Equal(t, "0.0.0.0:8443", cfg.Listen)
	require.Equal(t, "/var/lib/kedge/admin.sock", cfg.AdminSocket)
	require.Equal(t, "ecdsa-p256", cfg.Keys.Type)
	require.Equal(t, duration(168*time.Hour), cfg.Intermediate.Lifetime)
	_, err = cfg.buildPolicy()
	require.NoError(t, err)
}

// docs/configuration.md says what one identity can hold.
func TestDefaultQuotaBoundsTheLiveKeysOfAnIdentity(t *testing.T) {
	limits := defaultConfig().Limits
	day := limits.IdentityRate * ca.MaxLeafTTL.Seconds()
	require.EqualValues(t, 91_400, float64(limits.IdentityBurst)+day)
	// Istio's proxies make a new key at every renewal, at half of a day: what a
	// service account with as many replicas as the burst needs, three times over.
	require.Greater(t, day, 3*2*float64(limits.IdentityBurst))
}

// TestConfigurationIsRefused has one row for each refusal; each error begins with
// file, line and column.
func TestConfigurationIsRefused(t *testing.T) {
	rows := []struct {
		name, add, at, want string
	}{
		{"unknown key", "colour: red\n", "ca.yaml:5:1", "unknown field"},
		{"unknown key inside a section", "ops:\n  port: 1\n", "ca.yaml:6:3", "unknown field"},
		{"key twice", "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", "ca.yaml:6:1", "already defined"},
		{"two documents", "---\nlisten: 127.0.0.1:1\n", "ca.yaml", "more than one document"},
		{"half a file", "policy: {rules: [", "ca.yaml:5:", ""},
		{"duration without a unit", "intermediate: {lifetime: 168}\n", "ca.yaml", "is not a duration"},
		{"negative duration", "authn: {leeway: -5s}\n", "ca.yaml", "is not a duration"},
		{"number where a list belongs", "serverNames: 5\n", "ca.yaml:5:", ""},
		{"leeway above its bound", "authn: {leeway: 31s}\n", "ca.yaml:5:17", "authn.leeway"},
		{"upper-case trust domain", "trustDomain: Example.org\n", "", ""},
		{"port that Istio takes for plaintext", "listen: 0.0.0.0:15010\n", "ca.yaml:5:9", "plaintext"},
		{"address without a port", "listen: localhost\n", "ca.yaml:5:9", "listen"},
		{"metrics for everyone without TLS", "ops:\n  listen: 0.0.0.0:9443\n", "ca.yaml:6:11", "ops.tls"},
		{"unknown FIPS profile", "fips: {profile: none}\n", "ca.yaml:5:17", "unknown policy"},
		{"unknown sunset", "fips: {sunset: ignore}\n", "ca.yaml:5:16", "neither"},
		{"rules that are all comments", "policy:\n  rules:\n    # - name: x\n", "ca.yaml:6:10: policy.rules", "no value"},
		{"section without content", "policy:\n", "ca.yaml:5:9: policy", "no value"},
		{"null", "limits: {queue: null}\n", "ca.yaml:5:17: limits.queue", "no value"},
		{"null in a list", "serverNames: [~]\n", "ca.yaml:5:15", "no value"},
		{"quota that is no number", "limits: {identityRate: .nan}\n", "ca.yaml:5:24", "above 0"},
		{"quota without end", "limits: {identityRate: .inf}\n", "ca.yaml:5:24", "above 0"},
		{"no workers", "limits: {queue: 0}\n", "ca.yaml:5:17", "above 0"},
		{"no watchers of one peer", "limits: {watchersPerPeer: 0}\n", "ca.yaml:5:27", "above 0"},
		{"negative quota", "limits: {identityRate: -1}\n", "ca.yaml:5:24", "above 0"},
		{"old TLS", "minTLS: \"1.1\"\n", "ca.yaml:5:9", "neither"},
		{"intermediate that lives too long", "intermediate: {lifetime: 1000h}\n", "ca.yaml:5:26", "not within"},
		{"profile that is reserved", "profiles: [{name: kedge-server}]\n", "ca.yaml:5:19", "reserved"},
		{"profile beyond the bounds", "profiles: [{name: workload, maxTTL: 48h}]\n", "ca.yaml:5:", "above"},
		{"rule without its profile", "policy: {rules: [{name: x, profile: y}]}\n", "ca.yaml:5:", "no profile"},
		{"rule with an unknown method", "policy: {rules: [{name: x, profile: workload, methods: [magic]}]}\n", "ca.yaml:5:", "none of"},
		{"pattern of another trust domain", "policy: {rules: [{name: x, profile: workload, identities: [\"spiffe://other/*\"]}]}\n", "ca.yaml:5:", "other"},
		{"blocked key that is none", "policy: {blockedKeys: [abc]}\n", "ca.yaml:5:24", "64 hex digits"},
		{"cluster without an issuer", "authn: {kubernetes: [{cluster: a}]}\n", "ca.yaml:5:", "are needed"},
		{"keys by plain http", "authn: {kubernetes: [{cluster: a, issuer: i, audiences: [x], jwks: {url: \"http://x\"}}]}\n", "ca.yaml:5:", "https"},
		{"keys from two places", "authn: {kubernetes: [{cluster: a, issuer: i, audiences: [x], jwks: {url: \"https://x\", file: /y}}]}\n", "ca.yaml:5:", "exactly one"},
		{"server name with a port", "serverNames: [\"localhost:8443\"]\n", "ca.yaml:5:", "neither a host name"},
		{"wildcard server name", "serverNames: [\"*.example.org\"]\n", "ca.yaml:5:", "neither a host name"},
		{"rotation in an unknown mode", "rotation: {mode: fast}\n", "ca.yaml:5:18", "neither manual nor auto"},
		{"rotation that dwells too long", "rotation: {dwell: 200h}\n", "ca.yaml:5:19", "above"},
		{"rotation without skew", "rotation: {skew: 0s}\n", "ca.yaml:5:18", "not within"},
		{"rotation with too much skew", "rotation: {skew: 2h}\n", "ca.yaml:5:18", "not within"},
		{"rotation at night", "rotation: {window: at night}\n", "ca.yaml:5:20", "window"},
		{"rotation that nobody agrees to", "rotation: {approvals: 0}\n", "ca.yaml:5:23", "not within"},
		{"approvals by too few", "rotation: {approvals: 2, operators: [\"uid:0\"]}\n", "ca.yaml:5:23", "names 1"},
		{"operator twice", "rotation: {operators: [\"uid:0\", \"uid:0\"]}\n", "ca.yaml:5:33", "twice"},
		{"operator without a name", "rotation: {operators: [root]}\n", "ca.yaml:5:24", "neither a user"},
		{"operator with a sign", "rotation: {operators: [\"uid:-1\"]}\n", "ca.yaml:5:24", "not a user"},
		{"operator with a zero before", "rotation: {operators: [\"uid:00\"]}\n", "ca.yaml:5:24", "not a user"},
		{"operator of another trust domain", "rotation: {operators: [\"spiffe://other/alice\"]}\n", "ca.yaml:5:24", "not of trust domain"},
		{"log level", "log: {level: loud}\n", "ca.yaml:5:14", "none of"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			text := minimalConfig + row.add
			if strings.HasPrefix(row.add, "trustDomain") {
				text = strings.Replace(minimalConfig, "trustDomain: example.org\n", row.add, 1)
			}
			_, err := parseConfig("ca.yaml", []byte(text))
			require.Error(t, err)
			require.Contains(t, err.Error(), row.at)
			require.Contains(t, err.Error(), row.want)
		})
	}
}

// TestOperatorsAreWhoTheFileNames: at the socket an empty list is everybody whom it
// lets in; over the network it is nobody.
func TestOperatorsAreWhoTheFileNames(t *testing.T) {
	cfg, err := parseConfig("ca.yaml", []byte(minimalConfig))
	require.NoError(t, err)
	require.True(t, cfg.Rotation.isOperator("uid:0"))
	require.False(t, cfg.Rotation.isRemoteOperator("spiffe://example.org/operator/alice"))

	cfg, err = parseConfig("ca.yaml", []byte(minimalConfig+"rotation: {approvals: 2, operators: [\"uid:0\", \"spiffe://example.org/operator/alice\"]}\n"))
	require.NoError(t, err)
	for actor, want := range map[string]bool{"uid:0": true, "uid:1": false, "spiffe://example.org/operator/alice": true, "spiffe://example.org/operator/alice2": false} {
		require.Equal(t, want, cfg.Rotation.isOperator(actor), actor)
		require.Equal(t, want, cfg.Rotation.isRemoteOperator(actor), actor)
	}
}

func TestPassphraseHasOneSource(t *testing.T) {
	for _, source := range []string{"{}", "{file: /a, env: B}", "{file: relative}"} {
		text := strings.Replace(minimalConfig, "{file: /etc/kedge/keys}", source, 1)
		_, err := parseConfig("ca.yaml", []byte(text))
		require.ErrorContains(t, err, "keys.passphrase", source)
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	_, err := parseConfig("ca.yaml", []byte("trustDomain: X\nlisten: nowhere\n"))
	require.Error(t, err)
	for _, want := range []string{"trustDomain", "listen", "root.passphrase", "keys.passphrase"} {
		require.Contains(t, err.Error(), want)
	}
}

// FuzzConfig: whatever is accepted builds a policy, and everything that it says
// is within the bounds that the constructors hold.
func FuzzConfig(f *testing.F) {
	f.Add(minimalConfig)
	for _, dir := range []string{"config", "config-next"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "deploy", dir, "ca.yaml"))
		require.NoError(f, err)
		f.Add(string(raw))
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := parseConfig("ca.yaml", []byte(text))
		if err != nil {
			return
		}
		policy, err := cfg.buildPolicy()
		require.NoError(t, err)
		require.LessOrEqual(t, policy.MaxTTL(), 24*time.Hour)
		require.LessOrEqual(t, time.Duration(cfg.Authn.Leeway), 30*time.Second)
	})
}
