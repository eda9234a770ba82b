// Package testbinary holds the permission, for test binaries only, to start a
// fips.Module in a process that production refuses: one named *.test, or one
// without a module.
//
// It is internal to fips, so that fipstest, and nothing a program links, can
// grant it.
package testbinary

// Permit is a permission. The zero value grants nothing.
type Permit struct{ granted bool }

// Grant returns a permission.
func Grant() Permit { return Permit{granted: true} }

// Granted reports whether the permission was granted.
func (p Permit) Granted() bool { return p.granted }
