package fips

import (
	"strings"
	"syscall"
)

// kernelName returns the system name, release and version of uname(2).
func kernelName() string {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return ""
	}
	return strings.Join([]string{utsString(u.Sysname[:]), utsString(u.Release[:]), utsString(u.Version[:])}, " ")
}

// utsString is generic because the fields' type differs by architecture.
func utsString[T int8 | uint8](field []T) string {
	var b strings.Builder
	for _, c := range field {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}
