package fips

import (
	"fmt"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/fips/internal/testbinary"
)

// ExitCode is what a program exits with when Start returns an error
// (EX_CONFIG of sysexits.h): a supervisor tells it apart from a crash.
const ExitCode = 78

// SunsetMode says what happens when the module's certificate is no longer
// active. A revoked certificate is refused in either mode.
type SunsetMode string

// The two modes. The zero value means SunsetWarn.
const (
	SunsetWarn   SunsetMode = "warn"
	SunsetRefuse SunsetMode = "refuse"
)

// ParseSunsetMode returns the mode that s names in a configuration.
func ParseSunsetMode(s string) (SunsetMode, error) {
	switch m := SunsetMode(s); m {
	case SunsetWarn, SunsetRefuse:
		return m, nil
	}
	return "", fmt.Errorf("unknown sunset mode %q: want warn or refuse", s)
}

// StartOptions is what the caller of Start decides.
type StartOptions struct {
	Sunset SunsetMode
	// Now is the time against which dates are judged.
	Now time.Time
	// Policy is reported, and proved to refuse what it must.
	Policy Policy
	// Getenv reads the environment; nil means os.Getenv.
	Getenv func(string) string
	// StatusOverride is the operator's newer reading of the certificate's
	// status, optional: a JSON array of {cmvp, status, status_as_of,
	// status_source, sunset}.
	StatusOverride []byte
	// TestBinary lets a test binary, with or without a module, start. Only
	// package fipstest can make a value that says yes.
	TestBinary testbinary.Permit
}

// StartError says why Start refused. Code is stable.
type StartError struct {
	Code   string
	Detail string
}

func (e *StartError) Error() string { return "fips: " + e.Code + ": " + e.Detail }

// Start proves that a validated module does the cryptography of this process
// and returns it. Call it before any key is read and any socket opened. The
// error is always a *StartError; the program prints it and exits with ExitCode.
// It costs a few milliseconds of CPU.
func Start(o StartOptions) (*Module, error) { return start(o, gatherFacts(o.Getenv)) }

func start(o StartOptions, f *facts) (*Module, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	m := &Module{facts: f, policy: o.Policy, test: o.TestBinary.Granted()}
	if err := m.identify(o); err != nil {
		return nil, err
	}
	m.SelfTest(o.Now)
	if err := m.Err(); err != nil {
		return nil, &StartError{"selftest_failed", err.Error()}
	}
	return m, nil
}

func (o *StartOptions) check() error {
	switch {
	case o.Policy.p == nil:
		return &StartError{"policy_invalid", "no policy was chosen"}
	case o.Now.IsZero():
		return &StartError{"time_invalid", "no time was given"}
	case o.Sunset != "" && o.Sunset != SunsetWarn && o.Sunset != SunsetRefuse:
		return &StartError{"sunset_invalid", "sunset mode " + string(o.Sunset)}
	}
	return nil
}

// identify runs every check that needs no cryptography.
func (m *Module) identify(o StartOptions) error {
	f := m.facts
	if err := checkGODEBUG(f); err != nil {
		return err
	}
	if f.active == None && f.compiled == None {
		if f.insecure || m.test {
			return nil
		}
		return &StartError{"backend_missing", "this binary was built without a validated module: build with GOEXPERIMENT=boringcrypto CGO_ENABLED=1, or with GOFIPS140=v1.0.0"}
	}
	if err := checkProcess(f, m.test); err != nil {
		return err
	}
	table, err := parseModules(modulesJSON)
	if err != nil {
		return &StartError{"module_table", err.Error()}
	}
	entry, ok := table.find(f)
	if !ok {
		return &StartError{"module_unknown", fmt.Sprintf("no validated module is known for %s, %s/%s, backend %s, module %s",
			f.goVersion, f.goos, f.goarch, f.compiled, f.nativeVersion)}
	}
	if err := checkBuild(f, &entry, m.test); err != nil {
		return err
	}
	if err := entry.override(o.StatusOverride, o.Now); err != nil {
		return &StartError{"status_override", err.Error()}
	}
	if err := checkStatus(&entry, o); err != nil {
		return err
	}
	m.entry = &entry
	return nil
}

// checkProcess refuses a module that is linked but does not work.
func checkProcess(f *facts, test bool) error {
	if f.active != f.compiled {
		detail := "BoringCrypto is not linked: the build had no cgo, another platform or -msan"
		if f.compiled == Native {
			detail = "the native module is switched off: GODEBUG=fips140=off"
		}
		return &StartError{"backend_inactive", detail}
	}
	if f.compiled == BoringCrypto && (f.goos != "linux" || f.goarch != "amd64" && f.goarch != "arm64") {
		return &StartError{"platform", f.goos + "/" + f.goarch}
	}
	// crypto/internal/boring permits code outside the module in a process of
	// such a name, where it panics in any other.
	if !test && (strings.HasSuffix(f.exeName, ".test") || strings.HasSuffix(f.exeName, "_test")) {
		return &StartError{"executable_name", fmt.Sprintf("%q ends in .test or _test, which disables BoringCrypto's guard", f.exeName)}
	}
	return nil
}

// checkBuild compares the build settings recorded in the binary with the
// module's entry. go test records none of them, so a test binary passes
// without.
func checkBuild(f *facts, e *moduleEntry, test bool) error {
	if test && f.build["CGO_ENABLED"] == "" && f.build["GOFIPS140"] == "" {
		return nil
	}
	want := map[string]string{"CGO_ENABLED": "1", "GOEXPERIMENT": "boringcrypto"}
	if f.compiled == Native {
		want = map[string]string{"GOFIPS140": e.GOFIPS140}
	}
	for _, key := range []string{"CGO_ENABLED", "GOEXPERIMENT", "GOFIPS140"} {
		if v, ok := want[key]; ok && !settingHas(f.build[key], v) {
			return &StartError{"build_setting", fmt.Sprintf("%s=%s was recorded at build, want %s", key, f.build[key], v)}
		}
	}
	return nil
}

// settingHas accepts v as the whole setting or as one of a comma-separated
// list, as GOEXPERIMENT may be.
func settingHas(setting, v string) bool {
	for s := range strings.SplitSeq(setting, ",") {
		if s == v {
			return true
		}
	}
	return false
}

func checkStatus(e *moduleEntry, o StartOptions) error {
	status := e.statusAt(o.Now)
	if status == statusRevoked {
		return &StartError{"module_revoked", fmt.Sprintf("CMVP #%s was revoked as of %s", e.CMVP, e.StatusAsOf)}
	}
	if status != statusActive && o.Sunset == SunsetRefuse {
		return &StartError{"module_sunset", fmt.Sprintf("CMVP #%s is %s, sunset %s", e.CMVP, status, e.Sunset)}
	}
	return nil
}

// checkGODEBUG refuses settings that change cryptography: in a pod they often
// come from elsewhere. Whole families are refused rather than the names known
// today. The native module may be told fips140=on, or debug, which also prints
// its self-tests; failfipscast only ever makes it fail.
func checkGODEBUG(f *facts) error {
	for _, s := range f.godebugSettings() {
		key, value, _ := strings.Cut(s, "=")
		key = strings.TrimPrefix(key, "#")
		if key == "fips140" && f.compiled == Native && (value == "on" || value == "debug") {
			continue
		}
		for _, family := range []string{"fips140", "crypto", "tls", "x509", "rsa"} {
			if strings.HasPrefix(key, family) {
				return &StartError{"godebug", "GODEBUG setting " + s + " changes cryptography"}
			}
		}
	}
	return nil
}
