package artefact_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

const guard = "./fips/enforced"

// (f) The program links the guard, so what stops the guard stops the program.
func TestProgramLinksTheGuard(t *testing.T) {
	a := underTest(t)
	cmd := exec.Command("go", "list", "-deps", program())
	cmd.Dir = root
	cmd.Env = append(cleanEnv(), a.backendEnv()...)
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Contains(t, strings.Fields(string(out)), "github.com/kedge-ca/kedge/fips/enforced")
}

// (f) Every build without a validated module fails to compile. All but the
// first two would otherwise say nothing and yield plain Go.
func TestBuildsWithoutAModuleDoNotCompile(t *testing.T) {
	underTest(t)
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	for name, b := range map[string]struct{ env, args []string }{
		"plain":                        {nil, nil},
		"GOFIPS140=off":                {[]string{"GOFIPS140=off"}, nil},
		"GOFIPS140=latest":             {[]string{"GOFIPS140=latest"}, nil},
		"GOFIPS140=v1.26.0":            {[]string{"GOFIPS140=v1.26.0"}, nil},
		"boring without cgo":           {[]string{"GOEXPERIMENT=boringcrypto", "CGO_ENABLED=0"}, nil},
		"boring, cross, no C compiler": {[]string{"GOEXPERIMENT=boringcrypto", "GOARCH=" + other}, nil},
		"boring for macOS":             {[]string{"GOEXPERIMENT=boringcrypto", "GOOS=darwin"}, nil},
		"boring for another processor": {[]string{"GOEXPERIMENT=boringcrypto", "GOARCH=riscv64"}, nil},
		"tag boringcrypto by hand":     {nil, []string{"-tags=boringcrypto"}},
		"tag fips140v1.26 by hand":     {nil, []string{"-tags=fips140v1.26"}},
		"tag boringcrypto without cgo": {[]string{"CGO_ENABLED=0"}, []string{"-tags=boringcrypto"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := build(b.env, append(b.args, guard)...)
			require.Error(t, err)
			require.Contains(t, out, "kedge_needs_a_FIPS_build")
		})
	}
	// The go command itself refuses to combine the two.
	_, err := build([]string{"GOEXPERIMENT=boringcrypto", "GOFIPS140=v1.0.0"}, guard)
	require.Error(t, err)
}

func TestBuildsWithAModuleCompile(t *testing.T) {
	underTest(t)
	for name, b := range map[string]struct{ env, args []string }{
		"boring":       {[]string{"GOEXPERIMENT=boringcrypto", "CGO_ENABLED=1"}, nil},
		"native":       {[]string{"GOFIPS140=v1.0.0"}, nil},
		"native, pure": {[]string{"GOFIPS140=v1.0.0", "CGO_ENABLED=0"}, nil},
		"insecure":     {nil, []string{"-tags=insecure_nofips"}},
	} {
		out, err := build(b.env, append(b.args, guard)...)
		require.NoError(t, err, "%s: %s", name, out)
	}
}

// (f) What passes the guard without a module refuses to start. The small
// program stands for the real one: the refusal is in fips.Start.
func TestSpoofedGuardDoesNotStart(t *testing.T) {
	underTest(t)
	const small = "./test/artefact/testdata/ca"
	spoofed := filepath.Join(t.TempDir(), "ca")
	out, err := build(nil, "-tags=fips140v1.0", "-o", spoofed, small)
	require.NoError(t, err, out)
	refused(t, run(t, spoofed), "backend_inactive")
	refused(t, run(t, spoofed, "GODEBUG=fips140=on"), "module_unknown")
}

// The one build that may start without a module says so.
func TestInsecureBuildSaysSo(t *testing.T) {
	underTest(t)
	insecure := filepath.Join(t.TempDir(), "ca")
	out, err := build(nil, "-tags=insecure_nofips", "-o", insecure, "./test/artefact/testdata/ca")
	require.NoError(t, err, out)
	r := report(t, insecure)
	require.Equal(t, fips.VerdictDegraded, r.Verdict)
	require.Equal(t, fips.None, r.Backend)
	require.True(t, r.Build.Insecure)
	require.Nil(t, r.Module)
	require.Equal(t, "insecure_nofips", r.Warnings[0].Code)
}

// (f) At run time: whatever switches a module off or weakens it.
func TestHostileEnvironmentsAreRefused(t *testing.T) {
	a := underTest(t)
	for _, setting := range []string{"cryptocustomrand=1", "rsa1024min=0", "tls10server=1", "x509sha256skid=0", "tlsmaxrsasize=1", "fips140ems=0"} {
		refused(t, run(t, a.stripped, "GODEBUG="+setting), "godebug")
	}
	if a.backend == fips.Native {
		for _, v := range []string{"off", "only"} {
			refused(t, run(t, a.stripped, "GODEBUG=fips140="+v), "godebug")
		}
		return
	}
	refused(t, run(t, a.stripped, "GODEBUG=fips140=off"), "godebug")
	for _, v := range []string{"on", "only"} {
		o := run(t, a.stripped, "GODEBUG=fips140="+v)
		require.NotZero(t, o.code)
		require.Empty(t, o.stdout)
		require.Contains(t, o.stderr, "incompatible with GOEXPERIMENT=boringcrypto")
	}
}

// (f) A name ending in .test would disable BoringCrypto's guard.
func TestNameThatDisablesTheGuardIsRefused(t *testing.T) {
	a := underTest(t)
	b, err := os.ReadFile(a.stripped)
	require.NoError(t, err)
	for _, name := range []string{"ca.test", "ca_test"} {
		refused(t, run(t, copyTo(t, name, b)), "executable_name")
	}
}

// refused expects the exit code and the stable code of a refused start, and no
// report.
func refused(t *testing.T, o outcome, code string) {
	t.Helper()
	require.Equal(t, fips.ExitCode, o.code, "%s", o.stderr)
	require.Empty(t, o.stdout)
	require.Contains(t, o.stderr, code)
}
