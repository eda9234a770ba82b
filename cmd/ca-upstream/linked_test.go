package main

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// innocent are modules with a word of cryptography in a package's path and none
// of it inside, or nothing but encodings and certificates.
var innocent = []string{
	"github.com/kedge-ca/kedge", "github.com/kedge-ca/kedge/cmd/ca-upstream",
	"google.golang.org/grpc", "google.golang.org/genproto", "google.golang.org/genproto/googleapis/api", "google.golang.org/genproto/googleapis/rpc",
	"google.golang.org/api", "golang.org/x/oauth2", "golang.org/x/sys",
	// Hashes of maps and caches, password files, the wire of PostgreSQL.
	"github.com/cespare/xxhash", "github.com/cespare/xxhash/v2", "go.opentelemetry.io/otel", "github.com/klauspost/compress",
	"github.com/jackc/pgpassfile", "github.com/jackc/pgx/v5",
}

var suspicious = regexp.MustCompile(`(?i)crypt|jose|jwt|jws|pkcs|scep|ssh|tpm|ed25519|25519|chacha|poly1305|blake|argon|bcrypt|kms|keyvault|sign|tls|hkdf|cose|pgp|hash`)

// TestReportLeavesNothingOut: a package whose path speaks of cryptography belongs
// to a module that the report names.
func TestReportLeavesNothingOut(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}} {{.ImportPath}}", ".").Output()
	require.NoError(t, err)
	var found int
	for line := range strings.Lines(string(out)) {
		module, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		if module == "" || !suspicious.MatchString(path) || slices.Contains(innocent, module) {
			continue
		}
		named := slices.ContainsFunc(cryptoModules, func(c struct{ path, brings string }) bool {
			return c.path == module || strings.HasSuffix(c.path, "/") && strings.HasPrefix(module, c.path)
		})
		require.True(t, named, "module %s (package %s) is linked and not in the report", module, path)
		found++
	}
	require.Greater(t, found, 50, "the rule finds what it is for")
}
