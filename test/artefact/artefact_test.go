package artefact_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

// artefact is the binary under test.
type artefact struct {
	backend  fips.Backend
	stripped string
	// unstripped is the same program with its symbols.
	unstripped string
}

const root = "../.."

var built = sync.OnceValues(buildArtefact)

// underTest returns the artefact. Where nothing is expected of it the test is
// skipped by name; where something is, a missing binary is a failure.
func underTest(t *testing.T) artefact {
	t.Helper()
	if os.Getenv("EXPECT_FIPS") == "" {
		t.Skip("EXPECT_FIPS is not set: nothing is claimed about the binary, nothing proved")
	}
	a, err := built()
	require.NoError(t, err)
	return a
}

func TestMain(m *testing.M) {
	code := m.Run()
	if scratch != "" {
		_ = os.RemoveAll(scratch)
	}
	os.Exit(code)
}

// scratch is where this run built its own binaries, if it did.
var scratch string

func buildArtefact() (artefact, error) {
	a := artefact{stripped: os.Getenv("KEDGE_BIN"), unstripped: os.Getenv("KEDGE_BIN_UNSTRIPPED")}
	switch e := os.Getenv("EXPECT_FIPS"); e {
	case "boring":
		a.backend = fips.BoringCrypto
	case "native":
		a.backend = fips.Native
	default:
		return a, fmt.Errorf("EXPECT_FIPS=%s: want boring or native", e)
	}
	if (a.stripped == "") != (a.unstripped == "") {
		return a, fmt.Errorf("KEDGE_BIN and KEDGE_BIN_UNSTRIPPED belong together")
	}
	if a.stripped != "" {
		return a, nil
	}
	dir, err := os.MkdirTemp("", "kedge-artefact-")
	if err != nil {
		return a, err
	}
	scratch = dir
	a.stripped, a.unstripped = filepath.Join(dir, "ca"), filepath.Join(dir, "ca.unstripped")
	if out, err := build(a.backendEnv(), "-trimpath", "-ldflags=-s -w", "-o", a.stripped, program()); err != nil {
		return a, fmt.Errorf("building %s: %w\n%s", program(), err, out)
	}
	if out, err := build(a.backendEnv(), "-trimpath", "-o", a.unstripped, program()); err != nil {
		return a, fmt.Errorf("building %s: %w\n%s", program(), err, out)
	}
	return a, nil
}

// program is the main package, relative to the module's root.
func program() string {
	if p := os.Getenv("KEDGE_PKG"); p != "" {
		return p
	}
	return "./cmd/ca"
}

func (a artefact) backendEnv() []string {
	if a.backend == fips.Native {
		return []string{"GOFIPS140=v1.0.0"}
	}
	return []string{"GOEXPERIMENT=boringcrypto", "CGO_ENABLED=1"}
}

// build runs go build at the module's root with a clean FIPS environment plus env.
func build(env []string, args ...string) (string, error) {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(cleanEnv(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// cleanEnv is the environment without anything that selects a module.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		switch key, _, _ := strings.Cut(kv, "="); key {
		case "GOEXPERIMENT", "GOFIPS140", "CGO_ENABLED", "GODEBUG", "GOOS", "GOARCH":
		default:
			env = append(env, kv)
		}
	}
	return env
}

// outcome is how a process ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// run starts a binary's report with env in addition to a clean environment.
func run(t *testing.T, bin string, env ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "fips", "-o", "json")
	cmd.Env = append(cleanEnv(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "the process did not end")
	if err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command("go", "env", name)
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func settings(t *testing.T, bin string) (string, map[string]string) {
	t.Helper()
	info, err := buildinfo.ReadFile(bin)
	require.NoError(t, err)
	m := map[string]string{}
	for _, s := range info.Settings {
		m[s.Key] = s.Value
	}
	return info.GoVersion, m
}

func fileSHA256(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func report(t *testing.T, bin string, env ...string) fips.Report {
	t.Helper()
	o := run(t, bin, env...)
	require.Zero(t, o.code, "%s", o.stderr)
	var r fips.Report
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &r), "%s", o.stdout)
	return r
}

// (a) What the binary records about its build.
func TestBuildSettingsAreOfARelease(t *testing.T) {
	a := underTest(t)
	for _, bin := range []string{a.stripped, a.unstripped} {
		version, s := settings(t, bin)
		require.Equal(t, goEnv(t, "GOVERSION"), strings.Fields(strings.Replace(version, "-X:", " X:", 1))[0])
		require.Equal(t, runtime.GOARCH, s["GOARCH"])
		require.Equal(t, "linux", s["GOOS"])
		require.NotContains(t, s["-tags"], "insecure_nofips")
		if a.backend == fips.Native {
			require.Equal(t, "v1.0.0-c2097c7c", s["GOFIPS140"])
			require.Contains(t, s["DefaultGODEBUG"], "fips140=on")
			require.NotContains(t, s["GOEXPERIMENT"], "boringcrypto")
			continue
		}
		// Either alone proves nothing: a build without cgo records the experiment too.
		require.Contains(t, strings.Split(s["GOEXPERIMENT"], ","), "boringcrypto")
		require.Equal(t, "1", s["CGO_ENABLED"])
		require.Empty(t, s["GOFIPS140"])
		require.Empty(t, s["DefaultGODEBUG"], "the go directive is below 1.26")
	}
}

// (c) The toolchain's module is the one in the table, (d) and the process says so.
func TestReportOfTheArtefact(t *testing.T) {
	a := underTest(t)
	r := report(t, a.stripped)
	require.Equal(t, fips.ReportSchema, r.Schema)
	require.Equal(t, fips.VerdictApproved, r.Verdict)
	require.Equal(t, a.backend, r.Backend)
	require.Equal(t, "pass", r.Runtime.TLSProbe)
	require.Empty(t, r.Runtime.GODEBUG)
	require.False(t, r.Build.Insecure)
	require.Equal(t, fileSHA256(t, a.stripped), r.Build.ExeSHA256)
	require.Equal(t, report(t, a.unstripped).Build.DepsSHA256, r.Build.DepsSHA256)
	require.False(t, r.Claims.ProductValidated)
	require.Contains(t, r.Claims.Text, "CMVP #"+r.Module.CMVP)
	require.NotEmpty(t, r.SelfTests)
	for _, s := range r.SelfTests {
		require.True(t, s.OK, s.Name)
	}
	goroot := goEnv(t, "GOROOT")
	if a.backend == fips.Native {
		require.Equal(t, "5247", r.Module.CMVP)
		require.Equal(t, r.Module.ZipSHA256, fileSHA256(t, filepath.Join(goroot, "lib/fips140/v1.0.0-c2097c7c.zip")))
		return
	}
	require.Equal(t, "4735", r.Module.CMVP)
	syso := "src/crypto/internal/boring/syso/goboringcrypto_linux_" + runtime.GOARCH + ".syso"
	require.Equal(t, r.Module.SysoSHA256, fileSHA256(t, filepath.Join(goroot, syso)))
}

// optionalKeys are missing where they have nothing to say.
var optionalKeys = []string{"error", "selftests.detail", "module.caveat", "module.syso_sha256", "module.zip_sha256"}

// (d) The printed JSON has every field of the schema.
func TestReportHasEveryField(t *testing.T) {
	a := underTest(t)
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(run(t, a.stripped).stdout), &v))
	golden, err := os.ReadFile(filepath.Join(root, "fips/testdata/report-keys.txt"))
	require.NoError(t, err)
	for _, key := range strings.Fields(string(golden)) {
		if !contains(optionalKeys, key) {
			require.True(t, hasKey(v, strings.Split(key, ".")), key)
		}
	}
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// hasKey follows a path through objects and the elements of lists; an empty
// list has every key its elements would have.
func hasKey(v any, path []string) bool {
	if len(path) == 0 {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		e, ok := v[path[0]]
		return ok && hasKey(e, path[1:])
	case []any:
		for _, e := range v {
			if !hasKey(e, path) {
				return false
			}
		}
		return true
	}
	return false
}
