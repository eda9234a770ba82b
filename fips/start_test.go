package fips

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips/internal/testbinary"
)

func mustPolicy(t testing.TB, name string) Policy {
	t.Helper()
	p, err := PolicyByName(name)
	require.NoError(t, err)
	return p
}

// boringFacts is what a proper release binary of the default build sees.
func boringFacts() *facts {
	return &facts{
		compiled: BoringCrypto, active: BoringCrypto, boring: true, nativeVersion: "latest",
		exeName: "ca", goVersion: "go1.26.8 X:boringcrypto", goos: "linux", goarch: "amd64",
		build: map[string]string{"CGO_ENABLED": "1", "GOEXPERIMENT": "boringcrypto"},
	}
}

func nativeFacts() *facts {
	return &facts{
		compiled: Native, active: Native, nativeEnabled: true, nativeVersion: "v1.0.0",
		exeName: "ca", goVersion: "go1.26.8", goos: "darwin", goarch: "arm64",
		build: map[string]string{"CGO_ENABLED": "0", "GOFIPS140": "v1.0.0-c2097c7c", "DefaultGODEBUG": "fips140=on"},
	}
}

func options(t testing.TB) StartOptions {
	return StartOptions{Now: day("2026-11-24"), Policy: mustPolicy(t, "fips")}
}

func identified(o StartOptions, f *facts) error {
	if err := o.check(); err != nil {
		return err
	}
	m := &Module{facts: f, policy: o.Policy, test: o.TestBinary.Granted()}
	return m.identify(o)
}

func TestProperBinariesAreIdentified(t *testing.T) {
	require.NoError(t, identified(options(t), boringFacts()))
	require.NoError(t, identified(options(t), nativeFacts()))
	arm := boringFacts()
	arm.goarch = "arm64"
	require.NoError(t, identified(options(t), arm))
	many := boringFacts()
	many.build["GOEXPERIMENT"] = "boringcrypto,synctest"
	many.godebug = "madvdontneed=1,netdns=go"
	require.NoError(t, identified(options(t), many))
	drill := nativeFacts()
	drill.godebug = "fips140=debug,failfipscast=SHA2-256"
	require.NoError(t, identified(options(t), drill))
}

func TestStartRefusals(t *testing.T) {
	boring, native := boringFacts, nativeFacts
	rows := []struct {
		name string
		f    *facts
		edit func(*facts, *StartOptions)
		code string
	}{
		{"no policy", boring(), func(_ *facts, o *StartOptions) { o.Policy = Policy{} }, "policy_invalid"},
		{"no time", boring(), func(_ *facts, o *StartOptions) { o.Now = time.Time{} }, "time_invalid"},
		{"unknown sunset mode", boring(), func(_ *facts, o *StartOptions) { o.Sunset = "maybe" }, "sunset_invalid"},
		{"plain build", &facts{compiled: None, active: None, nativeVersion: "latest", exeName: "ca"}, nil, "backend_missing"},
		{"boring without cgo", boring(), func(f *facts, _ *StartOptions) { f.active, f.boring = None, false }, "backend_inactive"},
		{"native switched off", native(), func(f *facts, _ *StartOptions) { f.active, f.nativeEnabled = None, false }, "backend_inactive"},
		{"boring on another system", boring(), func(f *facts, _ *StartOptions) { f.goos = "darwin" }, "platform"},
		{"boring on another processor", boring(), func(f *facts, _ *StartOptions) { f.goarch = "riscv64" }, "platform"},
		{"executable named .test", boring(), func(f *facts, _ *StartOptions) { f.exeName = "ca.test" }, "executable_name"},
		{"executable named _test", native(), func(f *facts, _ *StartOptions) { f.exeName = "ca_test" }, "executable_name"},
		{"older toolchain", boring(), func(f *facts, _ *StartOptions) { f.goVersion = "go1.25.9" }, "module_unknown"},
		{"newer toolchain", native(), func(f *facts, _ *StartOptions) { f.goVersion = "go1.27.0" }, "module_unknown"},
		{"development toolchain", boring(), func(f *facts, _ *StartOptions) { f.goVersion = "devel go1.26-0123456789" }, "module_unknown"},
		{"native v1.26.0", native(), func(f *facts, _ *StartOptions) { f.nativeVersion = "v1.26.0" }, "module_unknown"},
		{"native latest", native(), func(f *facts, _ *StartOptions) { f.nativeVersion = "latest" }, "module_unknown"},
		{"tag without GOFIPS140", native(), func(f *facts, _ *StartOptions) { delete(f.build, "GOFIPS140") }, "build_setting"},
		{"another build of v1.0.0", native(), func(f *facts, _ *StartOptions) { f.build["GOFIPS140"] = "v1.0.0-00000000" }, "build_setting"},
		{"no cgo recorded", boring(), func(f *facts, _ *StartOptions) { f.build["CGO_ENABLED"] = "0" }, "build_setting"},
		{"no experiment recorded", boring(), func(f *facts, _ *StartOptions) { f.build["GOEXPERIMENT"] = "" }, "build_setting"},
		{"no build information", boring(), func(f *facts, _ *StartOptions) { f.build = nil }, "build_setting"},
		{"GODEBUG fips140=on under boring", boring(), func(f *facts, _ *StartOptions) { f.godebug = "fips140=on" }, "godebug"},
		{"GODEBUG fips140=off", native(), func(f *facts, _ *StartOptions) { f.godebug = "fips140=off" }, "godebug"},
		{"GODEBUG fips140=only", native(), func(f *facts, _ *StartOptions) { f.godebug = "fips140=only" }, "godebug"},
		{"GODEBUG fips140ems", native(), func(f *facts, _ *StartOptions) { f.godebug = "fips140ems=0" }, "godebug"},
		{"GODEBUG cryptocustomrand", boring(), func(f *facts, _ *StartOptions) { f.godebug = "netdns=go, cryptocustomrand=1" }, "godebug"},
		{"GODEBUG rsa1024min", boring(), func(f *facts, _ *StartOptions) { f.godebug = "rsa1024min=0" }, "godebug"},
		{"GODEBUG tls10server", boring(), func(f *facts, _ *StartOptions) { f.godebug = "tls10server=1" }, "godebug"},
		{"GODEBUG tlsmaxrsasize", boring(), func(f *facts, _ *StartOptions) { f.godebug = "tlsmaxrsasize=1" }, "godebug"},
		{"GODEBUG tlssha1", boring(), func(f *facts, _ *StartOptions) { f.godebug = "tlssha1=1" }, "godebug"},
		{"GODEBUG x509sha256skid", boring(), func(f *facts, _ *StartOptions) { f.godebug = "x509sha256skid=0" }, "godebug"},
		{"go directive below 1.26", boring(), func(f *facts, _ *StartOptions) { f.build["DefaultGODEBUG"] = "cryptocustomrand=1" }, "godebug"},
		{"operator's status unreadable", boring(), func(_ *facts, o *StartOptions) { o.StatusOverride = []byte("{") }, "status_override"},
		{"operator's status revoked", boring(), func(_ *facts, o *StartOptions) { o.StatusOverride = status("4735", "revoked") }, "module_revoked"},
		{"historical, refused", boring(), func(_ *facts, o *StartOptions) {
			o.StatusOverride, o.Sunset = status("4735", "historical"), SunsetRefuse
		}, "module_sunset"},
		{"past sunset, refused", native(), func(_ *facts, o *StartOptions) { o.Now, o.Sunset = day("2031-04-27"), SunsetRefuse }, "module_sunset"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			o := options(t)
			if r.edit != nil {
				r.edit(r.f, &o)
			}
			err := identified(o, r.f)
			var se *StartError
			require.True(t, errors.As(err, &se), "%v", err)
			require.Equal(t, r.code, se.Code)
			require.NotEmpty(t, se.Detail)
		})
	}
}

func status(cmvp, s string) []byte {
	return []byte(`[{"cmvp":"` + cmvp + `","status":"` + s + `","status_as_of":"2026-11-01","status_source":"https://csrc.nist.gov/"}]`)
}

func TestInsecureBuildStartsWithoutAModule(t *testing.T) {
	o := options(t)
	f := &facts{compiled: None, active: None, nativeVersion: "latest", exeName: "ca", insecure: true}
	require.NoError(t, identified(o, f))
}

// The tag must not excuse a module that was meant to be there and is not.
func TestInsecureBuildDoesNotExcuseADeadModule(t *testing.T) {
	f := boringFacts()
	f.active, f.insecure = None, true
	require.Error(t, identified(options(t), f))
}

func TestTestBinaryNeedsThePermit(t *testing.T) {
	o := options(t)
	f := boringFacts()
	f.exeName, f.build = "fips.test", map[string]string{}
	require.Error(t, identified(o, f))
	o.TestBinary = testbinary.Grant()
	require.NoError(t, identified(o, f))
}

// This process is a test binary, so production's Start must refuse it, on every
// backend.
func TestStartRefusesThisProcess(t *testing.T) {
	o := options(t)
	o.Getenv = func(string) string { return "" }
	_, err := Start(o)
	if ActiveBackend() == None && insecureNoFIPS {
		require.NoError(t, err, "nothing is left to protect")
		return
	}
	var se *StartError
	require.True(t, errors.As(err, &se))
	want := "executable_name"
	if ActiveBackend() == None {
		want = "backend_missing"
	}
	require.Equal(t, want, se.Code)
}

func TestParseSunsetMode(t *testing.T) {
	for _, s := range []string{"warn", "refuse"} {
		m, err := ParseSunsetMode(s)
		require.NoError(t, err)
		require.Equal(t, SunsetMode(s), m)
	}
	for _, s := range []string{"", "Warn", "ignore"} {
		_, err := ParseSunsetMode(s)
		require.Error(t, err)
	}
}

func TestWarnings(t *testing.T) {
	e := moduleEntry{CMVP: "4735", Status: "active", StatusAsOf: date{day("2026-04-15")}, Sunset: date{day("2029-07-22")}}
	codes := func(m *Module, now string) []string {
		var list []string
		for _, w := range m.Warnings(day(now)) {
			list = append(list, w.Code)
		}
		return list
	}
	m := &Module{entry: &e}
	require.Empty(t, codes(m, "2026-05-01"))
	require.Equal(t, []string{"status_stale"}, codes(m, "2026-11-24"))
	require.Equal(t, []string{"status_stale"}, codes(m, "2029-01-22"))
	require.Equal(t, []string{"module_sunset_near", "status_stale"}, codes(m, "2029-01-23"))
	require.Equal(t, []string{"module_not_active", "status_stale"}, codes(m, "2029-07-23"))
	require.Equal(t, []string{"insecure_nofips"}, codes(&Module{}, "2026-05-01"))
}
