package fips

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// modulesJSON is the dated table of modules this source may be built with.
// Dates and states are as somebody read them at status_source on status_as_of;
// nothing here is fetched.
//
//go:embed modules.json
var modulesJSON []byte

const (
	modulesSchema = "fips-modules/v1"
	overrideSize  = 64 << 10
	// staleAfter is the age from which a recorded status is called stale.
	staleAfter = 180 * 24 * time.Hour
	// sunsetWarning is how long before a sunset it is warned about.
	sunsetWarning = 180 * 24 * time.Hour
)

// moduleTable is modules.json.
type moduleTable struct {
	Schema  string        `json:"schema"`
	Modules []moduleEntry `json:"modules"`
}

// moduleEntry is one validated module and the toolchains that bring it.
type moduleEntry struct {
	Backend       Backend  `json:"backend"`
	Name          string   `json:"name"`
	Version       string   `json:"version"`
	Standard      string   `json:"standard"`
	Level         int      `json:"level"`
	CMVP          string   `json:"cmvp"`
	CAVP          []string `json:"cavp"`
	Validated     date     `json:"validated,omitzero"`
	Sunset        date     `json:"sunset"`
	Status        string   `json:"status"`
	StatusAsOf    date     `json:"status_as_of"`
	StatusSource  string   `json:"status_source"`
	Caveat        string   `json:"caveat,omitempty"`
	OutsideModule []string `json:"outside_module"`
	// Toolchains are Go minors, such as go1.26.
	Toolchains []string `json:"toolchains"`
	// SysoSHA256 is the hash of the module's object file in the toolchain's
	// sources, by GOARCH (boringcrypto).
	SysoSHA256 map[string]string `json:"syso_sha256,omitempty"`
	// GOFIPS140 is the build setting that pins the module (native).
	GOFIPS140 string `json:"gofips140,omitempty"`
	// ZipSHA256 is the hash of the module's sources in the toolchain (native).
	ZipSHA256 string `json:"zip_sha256,omitempty"`
	// overridden says that the operator's file supplied the status.
	overridden bool
}

// statusOverride is one entry of StartOptions.StatusOverride.
type statusOverride struct {
	CMVP         string `json:"cmvp"`
	Status       string `json:"status"`
	StatusAsOf   date   `json:"status_as_of"`
	StatusSource string `json:"status_source"`
	Sunset       date   `json:"sunset,omitzero"`
}

// The states of a certificate. The last one is never written in a table: it is
// derived when the sunset has passed and nobody has looked since.
const (
	statusActive     = "active"
	statusHistorical = "historical"
	statusRevoked    = "revoked"
	statusPresumed   = "presumed-historical"
)

// date is a day in UTC, written as 2006-01-02.
type date struct{ time.Time }

func (d *date) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("reading date: %w", err)
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return fmt.Errorf("reading date: %w", err)
	}
	d.Time = t
	return nil
}

func (d date) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// String returns the day, or "" for the zero date.
func (d date) String() string {
	if d.IsZero() {
		return ""
	}
	return d.Format(time.DateOnly)
}

// parseModules reads a module table and refuses an incomplete one.
func parseModules(b []byte) (moduleTable, error) {
	var t moduleTable
	if err := decodeStrict(b, &t); err != nil {
		return moduleTable{}, fmt.Errorf("reading module table: %w", err)
	}
	if t.Schema != modulesSchema {
		return moduleTable{}, fmt.Errorf("reading module table: schema %q", t.Schema)
	}
	for _, m := range t.Modules {
		if err := m.check(); err != nil {
			return moduleTable{}, fmt.Errorf("reading module table: %s %s: %w", m.Name, m.Version, err)
		}
	}
	return t, nil
}

func (m *moduleEntry) check() error {
	switch {
	case m.Name == "" || m.Version == "" || m.CMVP == "" || m.StatusSource == "" || len(m.Toolchains) == 0:
		return errors.New("incomplete entry")
	case m.Sunset.IsZero() || m.StatusAsOf.IsZero():
		return errors.New("a date is missing")
	case m.Status != statusActive && m.Status != statusHistorical && m.Status != statusRevoked:
		return fmt.Errorf("unknown status %q", m.Status)
	case m.Backend == BoringCrypto && len(m.SysoSHA256) == 0:
		return errors.New("no object file hash")
	case m.Backend == Native && m.GOFIPS140 == "":
		return errors.New("no GOFIPS140 setting")
	case m.Backend != BoringCrypto && m.Backend != Native:
		return fmt.Errorf("unknown backend %q", m.Backend)
	}
	return nil
}

// find returns the entry for a backend built by a toolchain, such as
// go1.26.8, for an architecture; native modules also match by version.
func (t moduleTable) find(f *facts) (moduleEntry, bool) {
	minor, ok := goMinor(f.goVersion)
	if !ok {
		return moduleEntry{}, false
	}
	for _, m := range t.Modules {
		if m.Backend != f.compiled || !slices.Contains(m.Toolchains, minor) {
			continue
		}
		if m.Backend == BoringCrypto && m.SysoSHA256[f.goarch] != "" {
			return m, true
		}
		if m.Backend == Native && m.Version == f.nativeVersion {
			return m, true
		}
	}
	return moduleEntry{}, false
}

// goMinor cuts a released toolchain's version down to its minor: go1.26.8 and
// "go1.26.8-X:boringcrypto" give go1.26. Development versions, betas and
// candidates have none.
func goMinor(version string) (string, bool) {
	version, _, _ = strings.Cut(version, " ")
	version, _, _ = strings.Cut(version, "-")
	parts := strings.Split(version, ".")
	if len(parts) < 2 || len(parts) > 3 || parts[0] != "go1" {
		return "", false
	}
	for _, p := range parts[1:] {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			return "", false
		}
	}
	return parts[0] + "." + parts[1], true
}

// override applies the operator's newer reading of the certificate's status.
func (m *moduleEntry) override(b []byte, now time.Time) error {
	if len(b) == 0 {
		return nil
	}
	if len(b) > overrideSize {
		return errors.New("status file is too large")
	}
	var list []statusOverride
	if err := decodeStrict(b, &list); err != nil {
		return fmt.Errorf("reading status file: %w", err)
	}
	for _, o := range list {
		switch {
		case o.Status != statusActive && o.Status != statusHistorical && o.Status != statusRevoked:
			return fmt.Errorf("certificate %q: unknown status %q", o.CMVP, o.Status)
		case o.StatusSource == "" || o.StatusAsOf.IsZero():
			return fmt.Errorf("certificate %q: status_source and status_as_of are required", o.CMVP)
		case o.StatusAsOf.After(now):
			return fmt.Errorf("certificate %q: status_as_of %s lies in the future", o.CMVP, o.StatusAsOf)
		}
		if o.CMVP != m.CMVP {
			continue
		}
		if o.StatusAsOf.Before(m.StatusAsOf.Time) {
			return fmt.Errorf("certificate %s: status of %s is older than the built-in one of %s", o.CMVP, o.StatusAsOf, m.StatusAsOf)
		}
		m.Status, m.StatusAsOf, m.StatusSource, m.overridden = o.Status, o.StatusAsOf, o.StatusSource, true
		if !o.Sunset.IsZero() {
			m.Sunset = o.Sunset
		}
	}
	return nil
}

// statusAt is the status to print. The clock can only take "active" away.
func (m *moduleEntry) statusAt(now time.Time) string {
	if m.Status == statusActive && m.daysLeft(now) < 0 {
		return statusPresumed
	}
	return m.Status
}

func (m *moduleEntry) staleAt(now time.Time) bool { return now.Sub(m.StatusAsOf.Time) > staleAfter }

// daysLeft counts whole days until the sunset, which is itself a day of grace:
// 0 on the day, -1 on the next.
func (m *moduleEntry) daysLeft(now time.Time) int {
	today := now.UTC().Truncate(24 * time.Hour)
	return int(m.Sunset.Sub(today) / (24 * time.Hour))
}

// decodeStrict decodes exactly one JSON value without unknown fields.
func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("trailing data")
	}
	return nil
}
