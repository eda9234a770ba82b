package ca_test

import (
	"strings"
	"testing"

	"github.com/kedge-ca/kedge/ca"
	"github.com/stretchr/testify/require"
)

func TestIdentityHasOneSpelling(t *testing.T) {
	long := "spiffe://cluster.local/" + strings.Repeat("a", 2049-len("spiffe://cluster.local/"))
	refused := map[string]string{
		"empty":                       "",
		"another scheme":              "https://cluster.local/ns/a/sa/b",
		"upper-case scheme":           "SPIFFE://cluster.local/ns/a/sa/b",
		"upper-case trust domain":     "spiffe://TD.Example/ns/a/sa/b",
		"trailing dot":                "spiffe://cluster.local./ns/a/sa/b",
		"leading dot":                 "spiffe://.cluster.local/ns/a/sa/b",
		"two dots":                    "spiffe://cluster..local/ns/a/sa/b",
		"internationalised":           "spiffe://clüster.local/ns/a/sa/b",
		"homoglyph":                   "spiffe://cluster.l\u043ecal/ns/a/sa/b",
		"percent sign":                "spiffe://cluster.local/ns/%2e%2e/sa/b",
		"double slash":                "spiffe://cluster.local/ns//sa/b",
		"dot segment":                 "spiffe://cluster.local/ns/./sa/b",
		"dot-dot segment":             "spiffe://cluster.local/ns/../sa/b",
		"trailing slash":              "spiffe://cluster.local/ns/a/sa/b/",
		"port":                        "spiffe://cluster.local:443/ns/a/sa/b",
		"user information":            "spiffe://me@cluster.local/ns/a/sa/b",
		"query":                       "spiffe://cluster.local/ns/a/sa/b?x",
		"fragment":                    "spiffe://cluster.local/ns/a/sa/b#x",
		"2 049 bytes":                 long,
		"no path":                     "spiffe://cluster.local",
		"empty path":                  "spiffe://cluster.local/",
		"no trust domain":             "spiffe:///ns/a/sa/b",
		"trust domain of 256 bytes":   "spiffe://" + strings.Repeat("a", 256) + "/b",
		"NUL":                         "spiffe://cluster.local/ns/a\x00/sa/b",
		"space":                       "spiffe://cluster.local/ns/a b",
		"invalid UTF-8":               "spiffe://cluster.local/\xff",
		"backslash":                   `spiffe://cluster.local/ns\a`,
		"right-to-left override":      "spiffe://cluster.local/\u202e",
		"tilde is not in the charset": "spiffe://cluster.local/~root",
	}
	for name, id := range refused {
		t.Run(name, func(t *testing.T) {
			parsed, err := ca.ParseIdentity(id)
			require.Error(t, err)
			require.True(t, parsed.IsZero())
		})
	}
	for _, id := range []string{
		"spiffe://cluster.local/ns/default/sa/web", "spiffe://a/b", "spiffe://td_1.x-2/A.b-c_D/..x", long[:2048],
	} {
		parsed, err := ca.ParseIdentity(id)
		require.NoError(t, err, id)
		require.Equal(t, id, parsed.String())
		require.Equal(t, id, parsed.TrustDomain().URI()+parsed.Path())
		require.True(t, parsed.MemberOf(parsed.TrustDomain()))
	}
}

func TestZeroValuesMatchNothing(t *testing.T) {
	require.False(t, ca.Identity{}.MemberOf(ca.TrustDomain{}))
	td, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	require.False(t, ca.Identity{}.MemberOf(td))
	_, err = ca.NewCaller(ca.Identity{}, ca.Evidence{Method: ca.MethodLocal})
	require.Error(t, err)
}

func TestServiceAccountCannotReachAnotherPath(t *testing.T) {
	td, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	for _, names := range [][2]string{{"a/sa/b", "c"}, {"a", "b/sa/c"}, {"", "b"}, {"a", ""}, {"..", "b"}} {
		_, err := td.ServiceAccount(names[0], names[1])
		require.Error(t, err, names)
	}
}

// FuzzIdentity: what is accepted is its own canonical form and splits back into
// the same parts; nothing accepted has a second spelling.
func FuzzIdentity(f *testing.F) {
	f.Add("spiffe://cluster.local/ns/default/sa/web")
	f.Add("spiffe://a/..")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ca.ParseIdentity(s)
		if err != nil {
			return
		}
		require.Equal(t, s, id.String())
		require.Equal(t, s, id.TrustDomain().URI()+id.Path())
		for i := range len(s) {
			require.True(t, s[i] > ' ' && s[i] < 0x7f && s[i] != '%' && s[i] != '\\')
		}
		for _, segment := range strings.Split(id.Path()[1:], "/") {
			require.NotContains(t, []string{"", ".", ".."}, segment)
		}
	})
}
