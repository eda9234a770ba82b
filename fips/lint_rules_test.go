package fips_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The rules that keep cryptography behind package fips. They read syntax only:
// a package is known by its import, a method by its name and arguments.

// finding is one broken rule.
type finding struct {
	pos  token.Position
	rule string
	text string
	// exempt says that a line of exemptions covers it.
	exempt bool
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.pos.Filename, f.pos.Line, f.rule, f.text)
}

// exemptions are the files that may break a rule, and why.
var exemptions = map[[2]string]string{
	{"fips/policy_key.go", "import crypto/ed25519"}:          "names the type in order to refuse it",
	{"fips/policy_key.go", "call crypto/elliptic.P224"}:      "names the curve in order to refuse it",
	{"fips/facts.go", "import crypto/fips140"}:               "asks for the module's version",
	{"fips/backend_native.go", "import crypto/fips140"}:      "asks whether the module is on",
	{"fips/backend_boring.go", "import crypto/boring"}:       "asks whether the module is linked",
	{"fips/backend_boring.go", "import crypto/tls/fipsonly"}: "the one place that switches the TLS filter on",
	{"fips/tls_unverified.go", "InsecureSkipVerify"}:         "the one client that fetches what proves itself",
	{"fips/tls_workload.go", "InsecureSkipVerify"}:           "verifies the chain itself, for servers without a host name",

	{"api/zones/bundles.go", "call " + unverifiedClient}: "the chain of bundles proves itself",

	{"test/bench/floors.go", "call crypto/x509.CreateCertificate"}: "the floor is the bare standard library",
}

// forbiddenImports are packages that no file may import, with what to do instead.
var forbiddenImports = map[string]string{
	"crypto/md5": "not approved", "crypto/sha1": "not approved for signatures; key identifiers are fips.KeyID",
	"crypto/des": "not approved", "crypto/rc4": "not approved", "crypto/dsa": "not approved",
	"crypto/ed25519": "outside BoringCrypto", "crypto/mlkem": "outside BoringCrypto", "crypto/hpke": "outside BoringCrypto",
	"math/rand": "use fips.Random", "math/rand/v2": "use fips.Random",
	"crypto/tls/fipsonly": "only fips/backend_boring.go imports it", "crypto/boring": "ask fips.ActiveBackend",
	"crypto/fips140": "ask fips.ActiveBackend",
}

// allowedXCrypto is what may be imported from golang.org/x/crypto: encodings.
var allowedXCrypto = []string{"cryptobyte", "cryptobyte/asn1", "ocsp"}

// unverifiedClient is the client that verifies nothing.
const unverifiedClient = "github.com/kedge-ca/kedge/fips.DangerouslyUnverifiedClientTLS"

// forbiddenNames may be used nowhere; doors only in package fips.
var (
	forbiddenNames = map[string]string{
		"crypto/elliptic.P224":                "112 bits of strength",
		"crypto/fips140.WithoutEnforcement":   "switches enforcement off",
		"crypto/cipher.NewGCMWithRandomNonce": "fails under BoringCrypto",
		"crypto/rsa.GenerateMultiPrimeKey":    "not FIPS 186-5",
		"crypto/rsa.EncryptPKCS1v15":          "not approved",
		"crypto/rsa.DecryptPKCS1v15":          "not approved",
		"crypto/x509.EncryptPEMBlock":         "RFC 1423 encryption is insecure",
		"crypto/x509.DecryptPEMBlock":         "RFC 1423 encryption is insecure",
		unverifiedClient:                      "only what proves itself may be fetched from whoever answers",
	}
	doors = map[string]string{
		"crypto/x509.CreateCertificate":        "the signing door is fips.Sign",
		"crypto/x509.CreateCertificateRequest": "use fips.CreateRequest",
		"crypto/x509.CreateRevocationList":     "the signing door is fips.Sign",
		"crypto/ecdsa.Sign":                    "the signing door is fips.Sign",
		"crypto/ecdsa.SignASN1":                "the signing door is fips.Sign",
		"crypto/rsa.SignPKCS1v15":              "the signing door is fips.Sign",
		"crypto/rsa.SignPSS":                   "the signing door is fips.Sign",
		"crypto.SignMessage":                   "the signing door is fips.Sign",
		"crypto/ecdsa.GenerateKey":             "use fips.GenerateKey",
		"crypto/rsa.GenerateKey":               "use fips.GenerateKey",
	}
	// readerArg is the index of the random source among the arguments. Anything
	// but crypto/rand.Reader panics in BoringCrypto or leaves the module.
	readerArg = map[string]int{
		"crypto/x509.CreateCertificate": 0, "crypto/x509.CreateCertificateRequest": 0, "crypto/x509.CreateRevocationList": 0,
		"crypto/ecdsa.Sign": 0, "crypto/ecdsa.SignASN1": 0, "crypto/rsa.SignPKCS1v15": 0, "crypto/rsa.SignPSS": 0,
		"crypto/ecdsa.GenerateKey": 1, "crypto/rsa.GenerateKey": 0, "crypto/rsa.EncryptOAEP": 1,
		"crypto/rand.Int": 0, "crypto/rand.Prime": 0, "crypto.SignMessage": 1,
	}
)

// fileLint is the state of one file's check.
type fileLint struct {
	name     string // relative to the module's root, with slashes
	fset     *token.FileSet
	imports  map[string]string // local name to path
	inFIPS   bool
	findings []finding
}

// lintFile checks one parsed file.
func lintFile(fset *token.FileSet, name string, file *ast.File) []finding {
	l := &fileLint{name: name, fset: fset, imports: map[string]string{}, inFIPS: path.Dir(name) == "fips"}
	for _, spec := range file.Imports {
		l.importSpec(spec)
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:debug") {
				l.report(c.Pos(), "go:debug", "GODEBUG is the operator's, and fips.Start judges it")
			}
		}
	}
	ast.Inspect(file, l.node)
	l.tlsConfigs(file)
	return l.findings
}

func (l *fileLint) report(pos token.Pos, rule, text string) {
	_, exempt := exemptions[[2]string{l.name, rule}]
	p := l.fset.Position(pos)
	p.Filename = l.name
	l.findings = append(l.findings, finding{p, rule, text, exempt})
}

func (l *fileLint) importSpec(spec *ast.ImportSpec) {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return
	}
	local := path.Base(p)
	if spec.Name != nil {
		local = spec.Name.Name
	}
	if local == "." && (p == "crypto" || strings.HasPrefix(p, "crypto/")) {
		l.report(spec.Pos(), "dot import", p+" must be named where it is used")
	}
	l.imports[local] = p
	if why, ok := forbiddenImports[p]; ok {
		l.report(spec.Pos(), "import "+p, why)
	}
	if strings.HasPrefix(p, "github.com/kedge-ca/kedge/") && isTestHelper(path.Base(p)) {
		l.report(spec.Pos(), "import "+p, "helpers for tests do not belong into a program")
	}
	if sub, ok := strings.CutPrefix(p, "golang.org/x/crypto/"); ok && !slices.Contains(allowedXCrypto, sub) {
		l.report(spec.Pos(), "import "+p, "only encodings come from x/crypto")
	}
}

// qualified returns "import/path.Name" for a selector of a package, else "".
func (l *fileLint) qualified(e ast.Expr) string {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	p, ok := l.imports[id.Name]
	if !ok {
		return ""
	}
	return p + "." + sel.Sel.Name
}

func (l *fileLint) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.SelectorExpr:
		name := l.qualified(n)
		if why, ok := forbiddenNames[name]; ok {
			l.report(n.Pos(), "call "+name, why)
		}
		if why, ok := doors[name]; ok && !l.inFIPS {
			l.report(n.Pos(), "call "+name, why)
		}
	case *ast.Ident:
		if n.Name == "InsecureSkipVerify" {
			l.report(n.Pos(), "InsecureSkipVerify", "certificates are always verified")
		}
	case *ast.AssignStmt:
		for _, left := range n.Lhs {
			if l.qualified(left) == "crypto/rand.Reader" {
				l.report(left.Pos(), "rand.Reader", "the module's random source is not replaced")
			}
		}
	case *ast.CallExpr:
		l.call(n)
	}
	return true
}

func (l *fileLint) call(c *ast.CallExpr) {
	name := l.qualified(c.Fun)
	if i, ok := readerArg[name]; ok && i < len(c.Args) {
		l.reader(c.Args[i])
	}
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || name != "" || len(c.Args) != 3 {
		return
	}
	// crypto.Signer and crypto.MessageSigner, by their shape.
	if sel.Sel.Name == "Sign" || sel.Sel.Name == "SignMessage" {
		if !l.inFIPS {
			l.report(c.Pos(), "Sign", "the signing door is fips.Sign")
		}
		l.reader(c.Args[0])
	}
}

func (l *fileLint) reader(arg ast.Expr) {
	if l.qualified(arg) != "crypto/rand.Reader" {
		l.report(arg.Pos(), "random source", "pass crypto/rand.Reader itself")
	}
}

// tlsConfigs lets code outside fips hold a *tls.Config and nothing else.
func (l *fileLint) tlsConfigs(file *ast.File) {
	if l.inFIPS {
		return
	}
	pointers := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if star, ok := n.(*ast.StarExpr); ok {
			pointers[star.X] = true
		}
		if sel, ok := n.(*ast.SelectorExpr); ok && l.qualified(sel) == "crypto/tls.Config" && !pointers[sel] {
			l.report(sel.Pos(), "tls.Config", "build it with fips.ServerTLS or fips.ClientTLS")
		}
		return true
	})
}
