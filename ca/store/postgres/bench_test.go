package postgres

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/ca/store/postgres/postgrestest"
)

// BenchmarkIntend reports the records in a commit, and how long a caller waited,
// for one replica and for two that take turns. The server is on this machine.
func BenchmarkIntend(b *testing.B) {
	server := postgrestest.Start(b)
	for _, row := range []struct{ replicas, writers int }{{1, 1}, {1, 16}, {1, 64}, {2, 64}} {
		b.Run(fmt.Sprintf("replicas=%d/writers=%d", row.replicas, row.writers), func(b *testing.B) {
			url := server.Database(b, fmt.Sprintf("bench_%d_%d_%d", row.replicas, row.writers, b.N))
			stores := make([]*Store, row.replicas)
			for i := range stores {
				stores[i] = openAs(b, url, fmt.Sprint("replica-", i))
			}
			benchIntend(b, stores, row.writers)
		})
	}
}

func benchIntend(b *testing.B, stores []*Store, writers int) {
	waits := make([]time.Duration, b.N)
	var next atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	for w := range writers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				begun := time.Now()
				if err := stores[w%len(stores)].Intend(b.Context(), record(i)); err != nil {
					b.Error(err)
					return
				}
				waits[i] = time.Since(begun)
			}
		})
	}
	group.Wait()
	b.StopTimer()
	slices.Sort(waits)
	commits := 0
	for _, s := range stores {
		commits += s.writes.log.commits
	}
	b.ReportMetric(float64(b.N)/float64(commits), "records/commit")
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1e3, "p99-ms")
}
