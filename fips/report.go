package fips

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ReportSchema names the layout of Report. A field may be added; one whose
// meaning changes needs a new name.
const ReportSchema = "fips-report/v1"

// The verdicts of a report.
const (
	// VerdictApproved: a validated module whose certificate is active does the
	// work and every self-test passed.
	VerdictApproved = "approved-mode"
	// VerdictDegraded: the process works, but there is no validated module or
	// its certificate is no longer active.
	VerdictDegraded = "degraded"
	// VerdictError: the module is in its error state.
	VerdictError = "error"
)

// ReportInput is what a report needs that the module does not know.
type ReportInput struct {
	Now time.Time
	// TLSMinVersion and TLSHybrid are those of the listeners' ServerTLSConfig.
	TLSMinVersion uint16
	TLSHybrid     bool
	// ExternalModules are cryptographic modules outside this process, such as a
	// Vault that holds the root, as the operator asserts them.
	ExternalModules []ExternalModule
	// OEAffirmed says that the operator affirms the operating environment
	// (FIPS 140-3 IG 2.3.C).
	OEAffirmed bool
}

// Report is the attestation of one binary and one process.
type Report struct {
	Schema          string           `json:"schema"`
	Time            time.Time        `json:"time"`
	Verdict         string           `json:"verdict"`
	Error           string           `json:"error,omitempty"`
	Warnings        []Warning        `json:"warnings"`
	Backend         Backend          `json:"backend"`
	Module          *ModuleReport    `json:"module"`
	Build           BuildReport      `json:"build"`
	Runtime         RuntimeReport    `json:"runtime"`
	OE              OEReport         `json:"oe"`
	SelfTests       []TestResult     `json:"selftests"`
	TLS             TLSReport        `json:"tls"`
	Policy          PolicyReport     `json:"policy"`
	OutsideModule   []string         `json:"outside_module"`
	ExternalModules []ExternalModule `json:"external_modules"`
	Claims          Claims           `json:"claims"`
}

// ModuleReport is the validated module and its certificate. It is null in a
// report of a binary without one.
type ModuleReport struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Standard string   `json:"standard"`
	Level    int      `json:"level"`
	CMVP     string   `json:"cmvp"`
	CAVP     []string `json:"cavp"`
	// Status is active, historical, revoked or presumed-historical, as read at
	// StatusSource on StatusAsOf; StatusStale says that this was long ago.
	Status         string `json:"status"`
	StatusAsOf     string `json:"status_as_of"`
	StatusSource   string `json:"status_source"`
	StatusStale    bool   `json:"status_stale"`
	StatusOperator bool   `json:"status_from_operator"`
	Sunset         string `json:"sunset"`
	DaysLeft       int    `json:"days_left"`
	Caveat         string `json:"caveat,omitempty"`
	// SysoSHA256 and ZipSHA256 are what the toolchain must hold for this entry;
	// the build verifies it.
	SysoSHA256 string `json:"syso_sha256,omitempty"`
	ZipSHA256  string `json:"zip_sha256,omitempty"`
}

// BuildReport is what the binary records about its own build.
type BuildReport struct {
	Go           string   `json:"go"`
	GOEXPERIMENT string   `json:"goexperiment"`
	CGO          bool     `json:"cgo"`
	GOFIPS140    string   `json:"gofips140"`
	Tags         []string `json:"tags"`
	GOOS         string   `json:"goos"`
	GOARCH       string   `json:"goarch"`
	Module       string   `json:"module"`
	Version      string   `json:"version"`
	VCS          string   `json:"vcs"`
	Modified     bool     `json:"modified"`
	// ExeSHA256 is the hash of the running executable's file, DepsSHA256 that of
	// its module dependencies, one "path version sum" a line. Either is empty
	// when it cannot be known.
	ExeSHA256  string `json:"exe_sha256"`
	DepsSHA256 string `json:"deps_sha256"`
	Insecure   bool   `json:"insecure_nofips"`
}

// RuntimeReport is what the process says of itself.
type RuntimeReport struct {
	BoringEnabled  bool `json:"boring_enabled"`
	FIPS140Enabled bool `json:"fips140_enabled"`
	// FIPS140Version is the native module's version, "latest" without one.
	FIPS140Version string `json:"fips140_version"`
	// TLSProbe is pass, fail, or not-enforced where there is no filter.
	TLSProbe string `json:"tls_fipsonly_probe"`
	GODEBUG  string `json:"godebug"`
}

// OEReport is the operating environment.
type OEReport struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	// Tested is unknown or affirmed-by-operator: the certificates' lists of
	// tested environments are not part of this program.
	Tested string `json:"tested"`
}

// TLSReport is what listeners negotiate.
type TLSReport struct {
	Min    string   `json:"min"`
	Suites []string `json:"suites"`
	Groups []string `json:"groups"`
}

// PolicyReport identifies the policy in force.
type PolicyReport struct {
	Profile string `json:"profile"`
	SHA256  string `json:"sha256"`
}

// ExternalModule is a cryptographic module outside this process.
type ExternalModule struct {
	// Role is what it does for Kedge, such as root; Kind what it is, such as vault.
	Role    string `json:"role"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
	// Assertion says who vouches for it, such as operator.
	Assertion string `json:"assertion"`
}

// Claims is what may be said about the product, and no more.
type Claims struct {
	ProductValidated bool   `json:"product_validated"`
	Text             string `json:"text"`
}

// Report describes the binary, the process and the latest self-tests. It runs
// no test. The first call reads the executable's file once.
func (m *Module) Report(in ReportInput) Report {
	r := Report{
		Schema: ReportSchema, Time: in.Now.UTC().Truncate(time.Second),
		Warnings: orEmpty(m.Warnings(in.Now)), Backend: m.Backend(),
		Build: m.buildReport(), OE: oeReport(in.OEAffirmed),
		SelfTests: orEmpty(m.lastResults()), TLS: tlsReport(in),
		Policy:          PolicyReport{m.policy.Name(), m.policy.SHA256()},
		OutsideModule:   []string{},
		ExternalModules: orEmpty(slices.Clone(in.ExternalModules)),
	}
	r.Runtime = RuntimeReport{
		BoringEnabled: m.facts.boring, FIPS140Enabled: m.facts.nativeEnabled,
		FIPS140Version: m.facts.nativeVersion, TLSProbe: m.probeOutcome(r.SelfTests), GODEBUG: m.facts.godebug,
	}
	r.Verdict = VerdictDegraded
	if e := m.entry; e != nil {
		r.Module = e.report(m.facts.goarch, in.Now)
		r.OutsideModule = slices.Clone(e.OutsideModule)
		if r.Module.Status == statusActive {
			r.Verdict = VerdictApproved
		}
	}
	if err := m.Err(); err != nil {
		r.Verdict, r.Error = VerdictError, err.Error()
	}
	r.Claims.Text = claim(r.Module)
	return r
}

func (m *moduleEntry) report(goarch string, now time.Time) *ModuleReport {
	return &ModuleReport{
		Name: m.Name, Version: m.Version, Standard: m.Standard, Level: m.Level,
		CMVP: m.CMVP, CAVP: slices.Clone(m.CAVP),
		Status: m.statusAt(now), StatusAsOf: m.StatusAsOf.String(), StatusSource: m.StatusSource,
		StatusStale: m.staleAt(now), StatusOperator: m.overridden,
		Sunset: m.Sunset.String(), DaysLeft: m.daysLeft(now), Caveat: m.Caveat,
		SysoSHA256: m.SysoSHA256[goarch], ZipSHA256: m.ZipSHA256,
	}
}

// claim is the sentence that documents may repeat: the module is validated, the
// product never is.
func claim(m *ModuleReport) string {
	if m == nil {
		return "No validated cryptographic module is in use. Nothing may be claimed about FIPS 140-3."
	}
	return fmt.Sprintf("Signing, hashing, random generation and TLS record protection are performed by %s %s, CMVP #%s, %s level %d, status %s as of %s. "+
		"This product is not itself validated, and its operating environment must be listed in the certificate or affirmed by the operator.",
		m.Name, m.Version, m.CMVP, m.Standard, m.Level, m.Status, m.StatusAsOf)
}

// probeOutcome sums up the TLS self-tests of the latest run.
func (m *Module) probeOutcome(results []TestResult) string {
	outcome := "not-enforced"
	for _, r := range results {
		if !strings.HasPrefix(r.Name, "tls_") {
			continue
		}
		if !r.OK {
			return "fail"
		}
		if strings.HasPrefix(r.Name, "tls_refuses_") {
			outcome = "pass"
		}
	}
	return outcome
}

func tlsReport(in ReportInput) TLSReport {
	r := TLSReport{Min: "1.2", Suites: []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"}}
	if in.TLSMinVersion == tls.VersionTLS13 {
		r.Min = "1.3"
	} else {
		for _, id := range tls12Suites() {
			r.Suites = append(r.Suites, tls.CipherSuiteName(id))
		}
	}
	for _, g := range groups(in.TLSHybrid) {
		r.Groups = append(r.Groups, groupName(g))
	}
	return r
}

// groupName is the NIST name of the curves, Go's for the rest.
func groupName(g tls.CurveID) string {
	switch g {
	case tls.CurveP256:
		return "P-256"
	case tls.CurveP384:
		return "P-384"
	}
	return g.String()
}

// orEmpty keeps a list from becoming null in JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
