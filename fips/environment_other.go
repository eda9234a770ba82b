//go:build !linux

package fips

import "runtime"

// kernelName names the system only: FIPS builds are for Linux.
func kernelName() string { return runtime.GOOS }
