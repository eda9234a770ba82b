//go:build !insecure_nofips

package fips

// insecureNoFIPS lets Start succeed without a validated module.
const insecureNoFIPS = false
