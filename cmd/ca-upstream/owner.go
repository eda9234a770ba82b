package main

import (
	"fmt"
	"os"
	"syscall"
)

// ownedByUs refuses a directory of another user.
func ownedByUs(path string, info os.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Getuid() {
		return fmt.Errorf("%s belongs to another user", path)
	}
	return nil
}
