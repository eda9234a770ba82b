// Package enforced makes a program that imports it fail to compile unless a
// validated module will be linked.
//
// It promises a compile error for a plain build, for CGO_ENABLED=0, for a
// cross build without a C compiler, for -tags boringcrypto and for
// GOFIPS140=latest. It is not proof: -tags fips140v1.0 by hand passes it, and
// fips.Start refuses such a binary. GOFIPS140=v1.26.0 is refused as long as
// that module is not validated.
//
// Every program under cmd/ imports it blank; libraries do not, so that their
// tests also run in a plain build.
package enforced
