package fips

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

func builtin(t *testing.T) moduleTable {
	t.Helper()
	table, err := parseModules(modulesJSON)
	require.NoError(t, err)
	return table
}

func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func fileSHA256(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// The table speaks about the toolchain that builds Kedge, not about one that
// somebody once looked at.
func TestTableMatchesTheInstalledToolchain(t *testing.T) {
	minor, ok := goMinor(runtime.Version())
	require.True(t, ok, runtime.Version())
	root := goroot(t)
	seen := map[Backend]bool{}
	for _, m := range builtin(t).Modules {
		require.Contains(t, m.Toolchains, minor, "%s %s", m.Name, m.Version)
		seen[m.Backend] = true
		for arch, want := range m.SysoSHA256 {
			syso := filepath.Join(root, "src/crypto/internal/boring/syso", "goboringcrypto_linux_"+arch+".syso")
			require.Equal(t, want, fileSHA256(t, syso), arch)
		}
		if m.ZipSHA256 != "" {
			zip := filepath.Join(root, "lib/fips140", m.GOFIPS140+".zip")
			require.Equal(t, want(t, root, m.GOFIPS140), m.ZipSHA256)
			require.Equal(t, m.ZipSHA256, fileSHA256(t, zip))
		}
	}
	require.Equal(t, map[Backend]bool{BoringCrypto: true, Native: true}, seen)
}

// want reads the sum that the Go project publishes for a module.
func want(t *testing.T, root, version string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "lib/fips140/fips140.sum"))
	require.NoError(t, err)
	for line := range strings.SplitSeq(string(b), "\n") {
		if f := strings.Fields(line); len(f) == 2 && f[0] == version+".zip" {
			return f[1]
		}
	}
	t.Fatalf("no sum for %s", version)
	return ""
}

// v1.26.0 comes with the toolchain too, and is not validated.
func TestUnvalidatedNativeModuleIsNotInTheTable(t *testing.T) {
	for _, version := range []string{"v1.26.0", "latest", ""} {
		_, ok := builtin(t).find(&facts{compiled: Native, goVersion: "go1.26.8", goarch: "amd64", nativeVersion: version})
		require.False(t, ok, version)
	}
	_, ok := builtin(t).find(&facts{compiled: Native, goVersion: "go1.26.8", goarch: "amd64", nativeVersion: "v1.0.0"})
	require.True(t, ok)
}

func TestGoMinor(t *testing.T) {
	for in, want := range map[string]string{
		"go1.26.8": "go1.26", "go1.26": "go1.26", "go1.26.8-X:boringcrypto": "go1.26",
		"go1.26.8 X:boringcrypto": "go1.26",
		"":                        "", "go1": "", "go1.27rc1": "", "go1.26beta1": "", "go2.1": "",
		"devel go1.27-abcdef": "", "go1.26.8.1": "", "go1..8": "",
	} {
		got, ok := goMinor(in)
		require.Equal(t, want, got, in)
		require.Equal(t, want != "", ok, in)
	}
}

func TestIncompleteTablesAreRefused(t *testing.T) {
	good := string(modulesJSON)
	for name, change := range map[string][2]string{
		"another schema":       {"fips-modules/v1", "fips-modules/v2"},
		"unknown field":        {`"level"`, `"grade"`},
		"no certificate":       {`"cmvp": "4735"`, `"cmvp": ""`},
		"unknown status":       {`"status": "active"`, `"status": "fine"`},
		"unparsable date":      {"2029-07-22", "22.7.2029"},
		"no sunset":            {`"sunset": "2029-07-22",`, ""},
		"no object file hash":  {`"syso_sha256"`, `"unused"`},
		"no pinned module":     {`"gofips140": "v1.0.0-c2097c7c",`, ""},
		"unknown backend":      {`"backend": "native"`, `"backend": "openssl"`},
		"no toolchain":         {`"toolchains": ["go1.26"]`, `"toolchains": []`},
		"trailing data":        {"]\n}\n", "]\n}{}"},
		"not JSON":             {"{", "x{"},
		"source not mentioned": {`"status_source": "https://go.dev/doc/security/fips140"`, `"status_source": ""`},
	} {
		changed := strings.Replace(good, change[0], change[1], 1)
		require.NotEqual(t, good, changed, name)
		_, err := parseModules([]byte(changed))
		require.Error(t, err, name)
	}
}

func TestStatusNeverBecomesActiveByTheClock(t *testing.T) {
	e := moduleEntry{Status: "active", StatusAsOf: date{day("2026-04-15")}, Sunset: date{day("2029-07-22")}}
	rows := []struct {
		now, status string
		days        int
		stale       bool
	}{
		{"2026-04-15", "active", 1194, false},
		{"2026-10-12", "active", 1014, false},
		{"2026-10-13", "active", 1013, true},
		{"2029-07-22", "active", 0, true},
		{"2029-07-23", "presumed-historical", -1, true},
		{"2040-01-01", "presumed-historical", -3815, true},
	}
	for _, r := range rows {
		require.Equal(t, r.status, e.statusAt(day(r.now)), r.now)
		require.Equal(t, r.days, e.daysLeft(day(r.now).Add(11*time.Hour)), r.now)
		require.Equal(t, r.stale, e.staleAt(day(r.now)), r.now)
	}
	for _, s := range []string{"historical", "revoked"} {
		e.Status = s
		require.Equal(t, s, e.statusAt(day("2020-01-01")))
	}
}

func TestOverrideAppliesANewerStatus(t *testing.T) {
	base := moduleEntry{CMVP: "4735", Status: "active", StatusAsOf: date{day("2026-04-15")}, Sunset: date{day("2029-07-22")}}
	e := base
	require.NoError(t, e.override([]byte(`[{"cmvp":"5247","status":"revoked","status_as_of":"2026-09-01","status_source":"x"},
		{"cmvp":"4735","status":"historical","status_as_of":"2026-09-01","status_source":"https://csrc.nist.gov/","sunset":"2028-01-01"}]`), day("2026-10-01")))
	want := base
	want.Status, want.StatusAsOf, want.StatusSource = "historical", date{day("2026-09-01")}, "https://csrc.nist.gov/"
	want.Sunset, want.overridden = date{day("2028-01-01")}, true
	require.Equal(t, want, e)
	e = base
	require.NoError(t, e.override(nil, day("2026-10-01")))
	require.Equal(t, base, e)
}

func TestOverrideRefusals(t *testing.T) {
	for name, b := range map[string]string{
		"not JSON":       `x`,
		"an object":      `{}`,
		"unknown field":  `[{"cmvp":"4735","colour":"red"}]`,
		"unknown status": `[{"cmvp":"4735","status":"fine","status_as_of":"2026-09-01","status_source":"x"}]`,
		"no source":      `[{"cmvp":"4735","status":"active","status_as_of":"2026-09-01"}]`,
		"no date":        `[{"cmvp":"4735","status":"active","status_source":"x"}]`,
		"future":         `[{"cmvp":"4735","status":"active","status_as_of":"2026-10-02","status_source":"x"}]`,
		"older":          `[{"cmvp":"4735","status":"active","status_as_of":"2026-04-14","status_source":"x"}]`,
		"bad other":      `[{"cmvp":"1","status":"active","status_source":"x"}]`,
		"trailing":       `[] []`,
		"too large":      "[" + strings.Repeat(" ", overrideSize) + "]",
	} {
		e := moduleEntry{CMVP: "4735", Status: "active", StatusAsOf: date{day("2026-04-15")}}
		require.Error(t, e.override([]byte(b), day("2026-10-01")), name)
	}
}
