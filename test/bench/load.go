package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// call makes one request; worker and n let it choose a connection and a CSR.
type call func(ctx context.Context, worker, n int) error

// closedLoop keeps workers busy for d and returns how many calls succeeded. The
// first failure ends it.
func closedLoop(ctx context.Context, workers int, d time.Duration, do call) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	var done, next atomic.Int64
	var first atomic.Pointer[error]
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for time.Now().Before(end) && first.Load() == nil {
				if err := do(ctx, w, int(next.Add(1))); err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return 0, fmt.Errorf("after %d calls: %w", done.Load(), *err)
	}
	return int(done.Load()), nil
}

// openLoop sends rate calls a second for d, each at its own time whatever became
// of the ones before, and returns the latencies from the time at which each was
// due: a server that stalls is charged for everyone who had to wait.
func openLoop(ctx context.Context, rate float64, d time.Duration, do call) ([]time.Duration, error) {
	total := int(rate * d.Seconds())
	latencies := make([]time.Duration, total)
	gap := time.Duration(float64(time.Second) / rate)
	var first atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for i := range total {
		due := start.Add(time.Duration(i) * gap)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			if err := do(ctx, i, i); err != nil {
				first.CompareAndSwap(nil, &err)
			}
			latencies[i] = time.Since(due)
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return nil, *err
	}
	slices.Sort(latencies)
	return latencies, nil
}

// percentile of sorted durations, p in 0…100.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(float64(len(sorted))*p/100))]
}

// median of values; it sorts them.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
