// Package fipstest is for the tests of every package that touches cryptography.
//
// It promises that a test run which should prove something about a module ran
// on that module: without it, tests built without the experiment would vanish
// and the suite stay green. It hands out a started fips.Module to tests, which
// fips.Start refuses to a test binary. No program links it.
package fipstest

import (
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/internal/testbinary"
)

// ExpectVar names the environment variable that says which backend a test run
// must have: boring or native. Unset means any.
const ExpectVar = "EXPECT_FIPS"

// Main is the TestMain of a package: it runs the tests, or exits with status 1
// when the backend is not the expected one.
//
//	func TestMain(m *testing.M) { fipstest.Main(m) }
func Main(m *testing.M) {
	if !RequireBackend(os.Getenv(ExpectVar), fips.ActiveBackend(), os.Stderr) {
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// RequireBackend reports whether active is what expect asks for, and says on w
// why not.
func RequireBackend(expect string, active fips.Backend, w io.Writer) bool {
	var want fips.Backend
	switch expect {
	case "":
		return true
	case "boring":
		want = fips.BoringCrypto
	case "native":
		want = fips.Native
	default:
		fmt.Fprintf(w, "%s=%s: want boring or native\n", ExpectVar, expect)
		return false
	}
	if active != want {
		fmt.Fprintf(w, "%s=%s, but these tests run on backend %s\n", ExpectVar, expect, active)
		return false
	}
	return true
}

// Start returns a started module for a test, on whatever backend the test runs,
// also none. Everything else is judged as in production.
func Start(t testing.TB, policy string) *fips.Module {
	t.Helper()
	p, err := fips.PolicyByName(policy)
	if err != nil {
		t.Fatalf("choosing policy: %v", err)
	}
	m, err := fips.Start(fips.StartOptions{
		Now: time.Now(), Policy: p, TestBinary: testbinary.Grant(),
		// The tests' own GODEBUG is not under test here.
		Getenv: func(string) string { return "" },
	})
	if err != nil {
		t.Fatalf("starting module: %v", err)
	}
	return m
}
