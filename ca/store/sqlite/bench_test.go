package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
	"github.com/kedge-ca/kedge/fips"
)

// benchRecord is a record of a Kubernetes workload, some 390 bytes encoded.
func benchRecord(b testing.TB, n int) ca.Record {
	serial, err := fips.NewSerial()
	require.NoError(b, err)
	now := time.Now()
	return ca.Record{
		Serial:   fmt.Sprintf("%x", serial),
		Identity: fmt.Sprintf("spiffe://cluster.local/ns/team-%d/sa/app-%d", n%100, n%10_000),
		Evidence: ca.Evidence{
			Method: ca.MethodKubernetes, Issuer: "https://kubernetes.default.svc.cluster.local",
			Subject: "system:serviceaccount:team-1:app-1", Cluster: "eu-1", Pod: "app-1-5d8f/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f",
			Node: "node-1", TokenHash: fmt.Sprintf("%064x", n), Peer: "10.1.2.3:40112",
		},
		Profile: "mesh", Issuer: "0f0e0d0c0b0a09080706050403020100ffeeddcc", BundleSeq: 3,
		IssuedAt: now, NotBefore: now, NotAfter: now.Add(24 * time.Hour), RequestID: "0a1b2c3d0a1b2c3d",
	}
}

func cpuTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkIntend reports the CPU that the whole process used for a record, making
// it excluded, the records in a commit, and how long a caller waited.
func BenchmarkIntend(b *testing.B) {
	for _, writers := range []int{1, 4, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { benchIntend(b, writers, Config{}) })
	}
}

func benchIntend(b *testing.B, writers int, c Config) {
	c.Dir = filepath.Join(benchDir(b), "store")
	s, err := Open(c)
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close()) }()
	templates := make([]ca.Record, 1000) // few, so that the collector does not measure the benchmark
	for i := range templates {
		templates[i] = benchRecord(b, i)
	}
	waits := make([]time.Duration, b.N)
	var next atomic.Int64
	var group sync.WaitGroup
	before := cpuTime(b)
	b.ResetTimer()
	for range writers {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				r := templates[i%len(templates)]
				r.Serial = fmt.Sprintf("7f%030x", i)
				begun := time.Now()
				if err := s.Intend(b.Context(), r); err != nil {
					b.Error(err)
					return
				}
				waits[i] = time.Since(begun)
			}
		})
	}
	group.Wait()
	b.StopTimer()
	used := cpuTime(b) - before
	slices.Sort(waits)
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "cpu-µs/record")
	b.ReportMetric(float64(b.N)/float64(s.writes.log.commits), "records/commit")
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(waits[len(waits)*999/1000].Microseconds())/1e3, "p99.9-ms")
}

// benchDir is on the disk that BENCH_DIR names, because the temporary directory
// may be in memory.
func benchDir(b *testing.B) string {
	if dir := os.Getenv("BENCH_DIR"); dir != "" {
		made, err := os.MkdirTemp(dir, "bench")
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, os.RemoveAll(made)) })
		return made
	}
	return b.TempDir()
}

var _ = journal.MaxRecord
