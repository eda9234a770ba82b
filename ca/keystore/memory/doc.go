// Package memory keeps private keys in the memory of the process: for tests, and
// for an authority that gets a new intermediate whenever it starts.
//
// It promises what ca.KeyStore promises but for the crash: its keys end with the
// process. Nothing is ever written.
//
// Tests and development servers use it.
package memory
