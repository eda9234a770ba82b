//go:build boringcrypto

package fips

import (
	"crypto/boring"
	// The TLS filter of BoringCrypto builds: process-wide and irrevocable once
	// linked, absent without this import. Nothing else in Kedge imports it.
	_ "crypto/tls/fipsonly"
)

const compiledBackend = BoringCrypto

// backendActive is false in a boringcrypto build without cgo, for another
// platform or with -msan, although the build metadata still names the
// experiment.
func backendActive() bool { return boring.Enabled() }

// boringEnabled reports whether the BoringCrypto core is linked.
func boringEnabled() bool { return boring.Enabled() }
