package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

const whole = `trustDomain: example.org
server: ca.example.org:8443
bundle: /etc/kedge/bundle.pem
workloads:
  - identity: spiffe://example.org/web
    uid: 1000
    tokenFile: /etc/kedge/web.token
    ttl: 1h
`

func TestAFileThatSaysLittleHasDefaults(t *testing.T) {
	got, err := parseConfig("agent.yaml", []byte(whole))
	require.NoError(t, err)
	want, uid := defaultConfig(), uint32(1000)
	want.TrustDomain, want.Server, want.Bundle = "example.org", "ca.example.org:8443", "/etc/kedge/bundle.pem"
	want.Workloads = []workloadConfig{{Identity: "spiffe://example.org/web", UID: &uid, TokenFile: "/etc/kedge/web.token", TTL: duration(time.Hour)}}
	require.Equal(t, want, got)
}

func TestAFileIsRefusedWithItsPlace(t *testing.T) {
	for name, row := range map[string]struct{ from, to, want string }{
		"an unknown key":             {"server:", "servers:", `agent.yaml:2:1: unknown field "servers"`},
		"a second document":          {"    ttl: 1h\n", "---\na: 1\n", "more than one document"},
		"a key without a value":      {"uid: 1000", "uid:", "agent.yaml:6:9: workloads[0].uid: there is no value"},
		"a duration without a unit":  {"ttl: 1h", "ttl: 60", "is not a duration"},
		"no trust domain":            {"trustDomain: example.org\n", "", "trustDomain: "},
		"a server without a port":    {"ca.example.org:8443", "ca.example.org", "agent.yaml:2:9: server: "},
		"no bundle":                  {"bundle: /etc/kedge/bundle.pem\n", "", "bundle: give the file"},
		"another trust domain":       {"spiffe://example.org/web", "spiffe://other.org/web", "agent.yaml:5:15: workloads[0].identity: spiffe://other.org/web is not of the trust domain"},
		"no identity":                {"spiffe://example.org/web", "web", "workloads[0].identity: "},
		"nothing that selects":       {"    uid: 1000\n", "", "nothing selects its processes"},
		"a negative user":            {"uid: 1000", "uid: -1", "agent.yaml:6:10"},
		"half a digest":              {"uid: 1000", "executableSHA256: abcd", "is not 64 hex digits"},
		"no source":                  {"    tokenFile: /etc/kedge/web.token\n", "", "give either tokenFile or certificate"},
		"two sources":                {"    ttl: 1h\n", "    certificate: {cert: a, key: b}\n", "give either tokenFile or certificate"},
		"a certificate without key":  {"tokenFile: /etc/kedge/web.token", "certificate: {cert: a}", "give cert and key"},
		"a kind of key nobody makes": {"ttl: 1h", "keyType: ed25519", "agent.yaml:8:14: workloads[0].keyType: "},
		"a mode that is none":        {"server:", "socketMode: rw\nserver:", "is not a mode"},
		"a policy nobody knows":      {"server:", "fips: {profile: none}\nserver:", "fips.profile: "},
		"a sunset nobody knows":      {"server:", "fips: {sunset: ignore}\nserver:", "fips.sunset: "},
		"a level nobody knows":       {"server:", "log: {level: loud}\nserver:", "log.level: "},
		"an identity twice":          {"workloads:\n", "workloads:\n  - {identity: 'spiffe://example.org/web', gid: 1, tokenFile: a}\n", "is there twice"},
	} {
		require.Contains(t, whole, row.from, name)
		_, err := parseConfig("agent.yaml", []byte(strings.Replace(whole, row.from, row.to, 1)))
		require.ErrorContains(t, err, row.want, name)
	}
	_, err := parseConfig("agent.yaml", nil)
	require.ErrorContains(t, err, "workloads: there are none")
}
