package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// gcHeadroom is how much garbage may gather before it is collected. What a
// collection costs depends on what lives, so a fixed headroom keeps the share of
// CPU small while little lives, and memory small while much does: Go's fixed
// percentage is wasteful at both ends. docs/benchmarks.md has what it brings.
const (
	gcHeadroom   = 12 << 20
	minGCPercent = 50
	maxGCPercent = 400
	// idleGarbage is worth a collection once nothing happens any more, such as
	// after a thousand proxies have connected.
	idleGarbage = 2 << 20
)

// gcPercent is the percentage that gives the headroom to a heap of live bytes.
func gcPercent(live uint64) int {
	if live == 0 {
		return maxGCPercent
	}
	return int(min(max(gcHeadroom*100/live, minGCPercent), maxGCPercent))
}

// memoryTuner follows the heap.
type memoryTuner struct {
	samples []metrics.Sample
	percent int
	cycles  uint64 // collections so far, at the last look
	quiet   int    // looks since the last collection
}

// tuneMemory follows the heap until ctx ends.
func tuneMemory(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	t := &memoryTuner{percent: 100, samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}}
	for {
		metrics.Read(t.samples)
		t.look(t.samples[0].Value.Uint64(), t.samples[1].Value.Uint64(), t.samples[2].Value.Uint64())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look acts on one reading.
func (t *memoryTuner) look(live, objects, cycles uint64) {
	// SetGCPercent stops the world for a moment: only a real change is worth it.
	if next := gcPercent(live); next > t.percent+t.percent/8 || next < t.percent-t.percent/8 {
		debug.SetGCPercent(next)
		t.percent = next
	}
	if t.quiet++; cycles != t.cycles {
		t.cycles, t.quiet = cycles, 0
	}
	if t.quiet >= 2 && objects > live+idleGarbage {
		debug.FreeOSMemory()
		t.quiet = 0
	}
}
