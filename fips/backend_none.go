//go:build !boringcrypto && !fips140v1.0

package fips

const compiledBackend = None

// backendActive is false: the in-tree code that GODEBUG=fips140=on switches on
// in a plain build was never validated.
func backendActive() bool { return false }

func boringEnabled() bool { return false }
