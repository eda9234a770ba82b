package ca_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/kedge-ca/kedge"

// deps lists the import paths that building packages links, without tests.
func deps(t *testing.T, packages ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps"}, packages...)...).Output()
	require.NoError(t, err)
	return strings.Fields(string(out))
}

func outside(deps []string, isAllowed func(string) bool) []string {
	var found []string
	for _, d := range deps {
		if !isAllowed(d) {
			found = append(found, d)
		}
	}
	return found
}

func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func hasPrefix(path string, prefixes ...string) bool {
	for _, p := range prefixes {
		if path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return false
}

func TestFIPSImportsTheStandardLibraryOnly(t *testing.T) {
	require.Empty(t, outside(deps(t, module+"/fips"), func(p string) bool {
		return isStandard(p) || hasPrefix(p, module+"/fips", "golang.org/x/crypto/cryptobyte")
	}))
}

func TestDomainImportsTheStandardLibraryAndFIPSOnly(t *testing.T) {
	require.Empty(t, outside(deps(t, module+"/ca"), func(p string) bool {
		return isStandard(p) || p == module+"/ca" || hasPrefix(p, module+"/fips", "golang.org/x/crypto/cryptobyte")
	}))
}

func TestRotationImportsTheDomainOnly(t *testing.T) {
	require.Empty(t, outside(deps(t, module+"/rotation"), func(p string) bool {
		return isStandard(p) || hasPrefix(p, module+"/rotation", module+"/fips", "golang.org/x/crypto/cryptobyte") || p == module+"/ca"
	}))
}

// forbidden is code that must never be linked into a program that holds a
// signing key: it is not approved, or it is far more than a signer needs.
var forbidden = []string{
	"k8s.io", "sigs.k8s.io", "github.com/smallstep", "go.step.sm", "filippo.io/edwards25519",
	"golang.org/x/crypto/ssh", "golang.org/x/crypto/nacl", "golang.org/x/crypto/scrypt",
	"golang.org/x/crypto/chacha20poly1305", "golang.org/x/crypto/curve25519", "golang.org/x/crypto/argon2",
	"golang.org/x/crypto/blowfish", "golang.org/x/crypto/bcrypt", "golang.org/x/crypto/salsa20",
	"golang.org/x/crypto/md4", "golang.org/x/crypto/ripemd160", "github.com/stretchr/testify",
}

func TestServerLinksNothingForbidden(t *testing.T) {
	for _, d := range deps(t, module+"/cmd/ca") {
		require.False(t, hasPrefix(d, forbidden...), d)
	}
}

// TestModuleRequiresNothingOfSmallstep: a requirement alone decides versions, and
// who audits the module reads it. What needs them is a module of its own (ADR 8).
func TestModuleRequiresNothingOfSmallstep(t *testing.T) {
	for _, file := range []string{"../go.mod", "../go.sum"} {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(raw), "google.golang.org/grpc", "the file is the right one")
		for _, path := range []string{"smallstep", "step.sm", "miekg/pkcs11", "crypto11"} {
			require.NotContains(t, string(raw), path, file)
		}
	}
	nested, err := os.ReadFile("../cmd/ca-upstream/go.mod")
	require.NoError(t, err)
	require.Contains(t, string(nested), "github.com/smallstep/certificates")
}

// TestRuleFindsWhatItForbids keeps the rules above honest: they match what they
// are meant to match.
func TestRuleFindsWhatItForbids(t *testing.T) {
	require.True(t, hasPrefix("golang.org/x/crypto/ssh/agent", forbidden...))
	require.True(t, hasPrefix("k8s.io/client-go/rest", forbidden...))
	require.False(t, hasPrefix("golang.org/x/crypto/cryptobyte", forbidden...))
	require.True(t, isStandard("crypto/x509"))
	require.False(t, isStandard("google.golang.org/grpc"))
}
