//go:build !((boringcrypto && cgo && linux && (amd64 || arm64) && !msan) || fips140v1.0 || insecure_nofips)

package enforced

// The identifier does not exist. The compiler prints it, and that is the
// message: build with GOEXPERIMENT=boringcrypto CGO_ENABLED=1 on linux/amd64 or
// linux/arm64, or with GOFIPS140=v1.0.0.
var _ = kedge_needs_a_FIPS_build__GOEXPERIMENT_boringcrypto_with_CGO_ENABLED_1__or__GOFIPS140_v1_0_0
