package sqlite

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"slices"

	"github.com/stretchr/testify/require"
)

func BenchmarkSim(b *testing.B) {
	buf := make([]byte, 64<<10)
	burn := func() { for range 2 { sha256.Sum256(buf) } }
	sim := func(b *testing.B, writers int, s *Store) {
		tmpl := benchRecord(b, 1)
		var next atomic.Int64
		var group sync.WaitGroup
		waits := make([]time.Duration, b.N)
		before := cpuTime(b)
		b.ResetTimer()
		for range writers {
			group.Go(func() {
				for {
					i := int(next.Add(1)) - 1
					if i >= b.N { return }
					begun := time.Now()
					if s != nil {
						r := tmpl
						r.Serial = fmt.Sprintf("7f%030x", i)
						if err := s.Intend(b.Context(), r); err != nil { b.Error(err); return }
					}
					burn()
					waits[i] = time.Since(begun)
				}
			})
		}
		group.Wait()
		b.StopTimer()
		used := cpuTime(b) - before
		slices.Sort(waits)
		b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "cpu-µs/record")
		b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1e3, "p50-ms")
		b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1e3, "p99-ms")
		if s != nil { b.ReportMetric(float64(b.N)/float64(s.writes.log.commits), "records/commit") }
	}
	b.Run("bare", func(b *testing.B) { sim(b, 64, nil) })
	for _, w := range []int{8, 64} {
	for _, win := range []time.Duration{0} {
		b.Run(fmt.Sprintf("w=%d/win=%s", w, win), func(b *testing.B) {
			s, err := Open(Config{Dir: filepath.Join(b.TempDir(), "store")})
			require.NoError(b, err)
			defer s.Close()
			sim(b, w, s)
		})
	}}
}
