package fips

import (
	"crypto/fips140"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// facts is what Start knows about the process. gatherFacts is the only place
// that asks; everything after it is a function of facts.
type facts struct {
	compiled      Backend
	active        Backend
	boring        bool
	nativeEnabled bool
	nativeVersion string
	insecure      bool
	exeName       string
	goVersion     string
	goos, goarch  string
	godebug       string
	build         map[string]string
	buildInfo     *debug.BuildInfo
}

func gatherFacts(getenv func(string) string) *facts {
	if getenv == nil {
		getenv = os.Getenv
	}
	f := &facts{
		compiled: compiledBackend, active: ActiveBackend(),
		boring: boringEnabled(), nativeEnabled: fips140.Enabled(), nativeVersion: fips140.Version(),
		insecure: insecureNoFIPS, goVersion: runtime.Version(),
		goos: runtime.GOOS, goarch: runtime.GOARCH, godebug: getenv("GODEBUG"),
		build: map[string]string{},
	}
	// BoringCrypto's own guard looks at argv[0], so that name counts, not that
	// of the file.
	if len(os.Args) > 0 {
		f.exeName = filepath.Base(os.Args[0])
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		f.buildInfo = info
		for _, s := range info.Settings {
			f.build[s.Key] = s.Value
		}
	}
	return f
}

// godebugSettings splits GODEBUG values, the built-in defaults first.
func (f *facts) godebugSettings() []string {
	var list []string
	for _, v := range []string{f.build["DefaultGODEBUG"], f.godebug} {
		for s := range strings.SplitSeq(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				list = append(list, s)
			}
		}
	}
	return list
}
