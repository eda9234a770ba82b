//go:build !boringcrypto && fips140v1.0

package fips

import "crypto/fips140"

const compiledBackend = Native

// backendActive follows GODEBUG=fips140: a binary built with GOFIPS140 can be
// switched off from its environment, and Version would not show it.
func backendActive() bool { return fips140.Enabled() }

func boringEnabled() bool { return false }
