package main

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// recordBlock is what a commit of a few records writes to SQLite's log.
const recordBlock = 16 << 10

// diskFlushes appends a block to a file and flushes it, again and again for d, and
// returns how long each took. A durable answer can be no faster than this: it is
// the floor under every latency.
func diskFlushes(d time.Duration) ([]time.Duration, error) {
	f, err := os.CreateTemp("", "kedge-bench-flush-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, recordBlock)
	var took []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end); {
		begin := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return nil, fmt.Errorf("flushing: %w", err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took, nil
}
