package fips

import (
	"crypto"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrErrorState is wrapped by what Module.Err returns.
var ErrErrorState = errors.New("fips: error state")

// Module is a running module that Start proved. It is safe for concurrent use.
type Module struct {
	facts  *facts
	policy Policy
	// entry is nil when no validated module does the work.
	entry *moduleEntry
	test  bool

	failed atomic.Pointer[error]

	mu      sync.Mutex // one self-test at a time; guards results
	results []TestResult

	files exeDigest
}

// NamedSigner is a key to prove. Name appears in reports.
type NamedSigner struct {
	Name   string
	Signer crypto.Signer
}

// TestResult is the outcome of one self-test.
type TestResult struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// NS is how long it took, in nanoseconds of wall clock.
	NS int64 `json:"ns"`
	// At is when the run that it belongs to began.
	At time.Time `json:"at"`
	// Detail says why it failed.
	Detail string `json:"detail,omitempty"`
}

// Backend returns the module that Start proved, None in an insecure build.
func (m *Module) Backend() Backend {
	if m.entry == nil {
		return None
	}
	return m.entry.Backend
}

// Policy returns the policy that Start was given.
func (m *Module) Policy() Policy { return m.policy }

// Err returns nil as long as the module works. Once a self-test failed or Fail
// was called it returns the first reason, wrapping ErrErrorState, for the rest
// of the process's life: issuance must stop (FIPS 140-3, ISO/IEC 19790 §7.10).
// It takes no lock.
func (m *Module) Err() error {
	if e := m.failed.Load(); e != nil {
		return *e
	}
	return nil
}

// Fail puts the module into its error state. The caller of Sign does so on
// ErrSignatureFault. code is a stable name in snake case.
func (m *Module) Fail(code string, cause error) {
	err := fmt.Errorf("%w: %s: %w", ErrErrorState, code, cause)
	m.failed.CompareAndSwap(nil, &err)
}

// Warnings returns what an operator should hear at start and once a day: codes
// module_sunset_near, module_not_active, status_stale, insecure_nofips. They
// stop nothing.
func (m *Module) Warnings(now time.Time) []Warning {
	if m.entry == nil {
		return []Warning{{"insecure_nofips", "no validated module does the cryptography of this process"}}
	}
	var list []Warning
	e := m.entry
	if s := e.statusAt(now); s != statusActive {
		list = append(list, Warning{"module_not_active", fmt.Sprintf("CMVP #%s is %s, sunset %s", e.CMVP, s, e.Sunset)})
	} else if time.Duration(e.daysLeft(now))*24*time.Hour <= sunsetWarning {
		list = append(list, Warning{"module_sunset_near", fmt.Sprintf("CMVP #%s leaves the active list after %s", e.CMVP, e.Sunset)})
	}
	if e.staleAt(now) {
		list = append(list, Warning{"status_stale", fmt.Sprintf("the status of CMVP #%s was read on %s: look it up at %s", e.CMVP, e.StatusAsOf, e.StatusSource)})
	}
	return list
}

// Warning is something to tell the operator. Code is stable.
type Warning struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}
