package fips_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sources returns the Go files of the repository that programs are made of:
// neither tests, nor packages of test helpers, nor generated protobuf code, nor
// nested modules.
func sources(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path == root {
				return nil
			}
			name := d.Name()
			if name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || isTestHelper(name) {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		name := d.Name()
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(name, ".pb.go") {
			files = append(files, path)
		}
		return nil
	}))
	return files
}

// isTestHelper reports whether a package is one of helpers for tests, such as
// fipstest, by the convention of net/http/httptest. The lint sees to it that no
// program imports one.
func isTestHelper(pkg string) bool { return strings.HasSuffix(pkg, "test") && pkg != "test" }

func TestRepositoryKeepsToTheDoors(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	files := sources(t, root)
	require.Greater(t, len(files), 20, "the walk found too little to be right")
	used := map[[2]string]bool{}
	for _, path := range files {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		rel, err := filepath.Rel(root, path)
		require.NoError(t, err)
		for _, f := range lintSource(t, filepath.ToSlash(rel), string(b)) {
			used[[2]string{f.pos.Filename, f.rule}] = true
			if !f.exempt {
				t.Error(f)
			}
		}
	}
	// One that covers nothing would wait there for the next mistake.
	for e, why := range exemptions {
		require.True(t, used[e], "exemption %v covers nothing", e)
		require.NotEmpty(t, why)
	}
}

// The compile-time guard works only where it is linked.
func TestEveryProgramImportsTheGuard(t *testing.T) {
	programs, err := filepath.Glob("../cmd/*")
	require.NoError(t, err)
	for _, dir := range programs {
		guarded := false
		for _, path := range sources(t, dir) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			guarded = guarded || strings.Contains(string(b), `_ "github.com/kedge-ca/kedge/fips/enforced"`)
		}
		require.True(t, guarded, "%s does not import fips/enforced", dir)
	}
}

func lintSource(t *testing.T, name, src string) []finding {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Errorf("%s does not parse: %v", name, err)
		return nil
	}
	return lintFile(fset, name, file)
}

// imports of the snippets below, by the name they use.
var snippetImports = map[string]string{
	"tls": "crypto/tls", "x509": "crypto/x509", "rand": "crypto/rand", "ecdsa": "crypto/ecdsa", "rsa": "crypto/rsa",
	"elliptic": "crypto/elliptic", "cipher": "crypto/cipher", "crypto": "crypto", "fips": "github.com/kedge-ca/kedge/fips",
}

// snippet puts statements into a file that imports what they name; the
// statements stand on line 2.
func snippet(body string) string {
	var b strings.Builder
	b.WriteString("package x;")
	for name, path := range snippetImports {
		if strings.Contains(body, name+".") {
			b.WriteString(`import ` + name + ` "` + path + `";`)
		}
	}
	return b.String() + "\nfunc f() { " + body + " }\n"
}

func TestLintFindsEachRuleBroken(t *testing.T) {
	const signDoor = "the signing door is fips.Sign"
	rows := []struct{ name, src, want string }{
		{"md5", "package x\nimport _ \"crypto/md5\"", "api/x.go:2: import crypto/md5: not approved"},
		{"sha1", "package x\nimport \"crypto/sha1\"", "import crypto/sha1"},
		{"des", "package x\nimport \"crypto/des\"", "import crypto/des"},
		{"rc4", "package x\nimport \"crypto/rc4\"", "import crypto/rc4"},
		{"dsa", "package x\nimport \"crypto/dsa\"", "import crypto/dsa"},
		{"ed25519", "package x\nimport e \"crypto/ed25519\"", "import crypto/ed25519"},
		{"mlkem", "package x\nimport \"crypto/mlkem\"", "import crypto/mlkem"},
		{"hpke", "package x\nimport \"crypto/hpke\"", "import crypto/hpke"},
		{"math/rand", "package x\nimport \"math/rand\"", "import math/rand"},
		{"math/rand/v2", "package x\nimport \"math/rand/v2\"", "import math/rand/v2"},
		{"x/crypto", "package x\nimport \"golang.org/x/crypto/chacha20poly1305\"", "import golang.org/x/crypto/chacha20poly1305"},
		{"fipsonly", "package x\nimport _ \"crypto/tls/fipsonly\"", "import crypto/tls/fipsonly"},
		{"boring", "package x\nimport _ \"crypto/boring\"", "import crypto/boring"},
		{"fips140", "package x\nimport \"crypto/fips140\"", "import crypto/fips140"},
		{"dot import", "package x\nimport . \"crypto/ecdsa\"", "dot import"},
		{"test helpers", "package x\nimport \"github.com/kedge-ca/kedge/fips/fipstest\"", "import github.com/kedge-ca/kedge/fips/fipstest"},
		{"go:debug", "//go:debug fips140=on\npackage x\n", "api/x.go:1: go:debug"},
		{"TLS literal", snippet("_ = &tls.Config{}"), "api/x.go:2: tls.Config"},
		{"TLS new", snippet("_ = new(tls.Config)"), "tls.Config"},
		{"TLS variable", snippet("var c tls.Config; _ = c"), "tls.Config"},
		{"TLS slice", snippet("var c []tls.Config; _ = c"), "tls.Config"},
		{"TLS under another name", "package x\nimport t \"crypto/tls\"\nvar c = t.Config{}", "api/x.go:3: tls.Config"},
		{"skip verify set", snippet("c.InsecureSkipVerify = true"), "InsecureSkipVerify"},
		{"skip verify in literal", snippet("_ = C{InsecureSkipVerify: true}"), "InsecureSkipVerify"},
		{"P-224", snippet("_ = elliptic.P224()"), "call crypto/elliptic.P224"},
		{"P-224 as value", snippet("g := elliptic.P224; _ = g"), "call crypto/elliptic.P224"},
		{"GCM random nonce", snippet("cipher.NewGCMWithRandomNonce(b)"), "call crypto/cipher.NewGCMWithRandomNonce"},
		{"RSA encryption", snippet("rsa.EncryptPKCS1v15(rand.Reader, k, m)"), "call crypto/rsa.EncryptPKCS1v15"},
		{"CreateCertificate", snippet("x509.CreateCertificate(rand.Reader, t, t, p, k)"), signDoor},
		{"CreateCertificateRequest", snippet("x509.CreateCertificateRequest(rand.Reader, t, k)"), "use fips.CreateRequest"},
		{"CreateRevocationList", snippet("x509.CreateRevocationList(rand.Reader, t, c, k)"), signDoor},
		{"SignASN1", snippet("ecdsa.SignASN1(rand.Reader, k, d)"), signDoor},
		{"SignPKCS1v15", snippet("rsa.SignPKCS1v15(rand.Reader, k, h, d)"), signDoor},
		{"SignPSS", snippet("rsa.SignPSS(rand.Reader, k, h, d, nil)"), signDoor},
		{"SignMessage", snippet("crypto.SignMessage(s, rand.Reader, m, o)"), signDoor},
		{"Signer.Sign", snippet("s.Sign(rand.Reader, d, o)"), "api/x.go:2: Sign: " + signDoor},
		{"Signer.Sign through a field", snippet("a.b.key().Sign(rand.Reader, d, o)"), "Sign: " + signDoor},
		{"MessageSigner", snippet("s.SignMessage(rand.Reader, m, o)"), "Sign: " + signDoor},
		{"key made elsewhere", snippet("ecdsa.GenerateKey(elliptic.P256(), rand.Reader)"), "use fips.GenerateKey"},
		{"unverified client", snippet("fips.DangerouslyUnverifiedClientTLS(nil)"), "call github.com/kedge-ca/kedge/fips.DangerouslyUnverifiedClientTLS"},
		{"custom reader", snippet("rand.Int(r, n)"), "random source"},
		{"nil reader", snippet("rand.Prime(nil, 512)"), "random source"},
		{"reader replaced", snippet("rand.Reader = r"), "rand.Reader"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			findings := lintSource(t, "api/x.go", r.src)
			require.Len(t, findings, 1, "%v", findings)
			require.Contains(t, findings[0].String(), r.want)
		})
	}
}

func TestLintAllowsTheDoors(t *testing.T) {
	for name, src := range map[string]string{
		"builder":          snippet("var c *tls.Config; c, _ = fips.ServerTLS(fips.ServerTLSConfig{}); _ = c"),
		"tls names":        snippet("var c *tls.Certificate; _ = c; _ = tls.VersionTLS13"),
		"signing door":     snippet("fips.Sign(s, scheme, m)"),
		"big.Int's Sign":   snippet("_ = n.Sign() > 0"),
		"JWT's Sign":       snippet("t.Sign(payload)"),
		"own reader reads": snippet("rand.Read(b); rand.Int(rand.Reader, n)"),
		"encodings":        "package x\nimport \"golang.org/x/crypto/cryptobyte\"\nimport _ \"golang.org/x/crypto/ocsp\"",
		"another Config":   "package x\nimport \"example.com/tls\"\nvar c = tls.Config{}",
		"hashes in use":    "package x\nimport _ \"crypto/sha256\"\nimport _ \"crypto/hmac\"",
	} {
		require.Empty(t, lintSource(t, "api/x.go", src), name)
	}
}

// The doors themselves are in package fips, and only there: a folder below it
// is outside.
func TestLintKnowsWhereTheDoorsAre(t *testing.T) {
	src := snippet("s.Sign(rand.Reader, d, o); _ = tls.Config{}")
	require.Empty(t, lintSource(t, "fips/x.go", src))
	require.Len(t, lintSource(t, "fips/enforced/x.go", src), 2)
	require.Len(t, lintSource(t, "ca/fips/x.go", src), 2)
	// The file may ask for the version, and still not switch enforcement off.
	bad := lintSource(t, "fips/facts.go", "package x\nimport \"crypto/fips140\"\nfunc f() { fips140.WithoutEnforcement(f) }")
	require.Len(t, bad, 2)
	require.True(t, bad[0].exempt)
	require.False(t, bad[1].exempt)
	require.Contains(t, bad[1].String(), "call crypto/fips140.WithoutEnforcement")
	bad = lintSource(t, "fips/x.go", snippet("s.Sign(nil, d, o)"))
	require.Len(t, bad, 1)
	require.Contains(t, bad[0].String(), "random source")
}
