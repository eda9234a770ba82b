// Package fips is the only place where Kedge touches cryptography directly.
//
// It promises four things. Start proves, before any key is read or socket
// opened, that a known validated module does the work, or returns a
// *StartError. Sign, CreateRequest and GenerateKey are the one signing door:
// always the module's own random source, every signature verified before it is
// returned. ServerTLS and ClientTLS are the only builders of a tls.Config.
// Policy decides which keys and algorithms may enter, because neither
// BoringCrypto nor the native module refuses weak ones outside TLS.
//
// It refuses: a build without a validated module (unless tagged
// insecure_nofips), a toolchain that is not in modules.json, a GODEBUG that
// weakens cryptography, and, once a self-test failed, everything: Module.Err
// is latched and only a restart clears it.
//
// It reads the environment, /proc and the build information in Start and
// Report only; time is always a parameter. Every other package of Kedge calls
// it; it calls none of them. lint_test.go holds the rest of the repository to
// these doors.
package fips
