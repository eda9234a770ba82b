package fips

// Backend names the cryptographic module a binary runs on.
type Backend string

// The backends. A release is built with exactly one of the first two.
const (
	// BoringCrypto is the module linked by GOEXPERIMENT=boringcrypto (CMVP #4735).
	BoringCrypto Backend = "boringcrypto"
	// Native is the Go Cryptographic Module selected by GOFIPS140=v1.0.0 (CMVP #5247).
	Native Backend = "native"
	// None means that no validated module does the work.
	None Backend = "none"
)

// ActiveBackend returns the module that does the work in this process: the one
// compiled in when it is also switched on, None otherwise. It proves nothing
// about the module's version; Start does.
func ActiveBackend() Backend {
	if backendActive() {
		return compiledBackend
	}
	return None
}

// VersionSuffix returns what every printed version and log line of this binary
// carries after its version: "+insecure-nofips" when it was built with the tag
// insecure_nofips, the empty string otherwise.
func VersionSuffix() string {
	if insecureNoFIPS {
		return "+insecure-nofips"
	}
	return ""
}
