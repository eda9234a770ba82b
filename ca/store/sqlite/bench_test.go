package sqlite

import (
	"crypto/sha256"
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
)

// BenchmarkIntend reports the CPU that the whole process used for a record, the
// records in a commit, and how long a caller waited. BENCH_DIR names a directory
// on the disk to measure.
func BenchmarkIntend(b *testing.B) {
	for _, writers := range []int{1, 4, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			benchIntend(b, load{writers: writers, store: benchStore(b)})
		})
	}
}

// BenchmarkIntendUnderLoad is what a busy server does: every caller has some 85 µs
// of its own work for each record. The difference between the two is the price of
// the record. Run it on one core (taskset -c 1).
func BenchmarkIntendUnderLoad(b *testing.B) {
	page := make([]byte, 64<<10)
	work := func() {
		for range 2 {
			sha256.Sum256(page)
		}
	}
	b.Run("work=alone", func(b *testing.B) { benchIntend(b, load{writers: 64, work: work}) })
	for _, writers := range []int{8, 64} {
		b.Run(fmt.Sprintf("work=and-record/writers=%d", writers), func(b *testing.B) {
			benchIntend(b, load{writers: writers, work: work, store: benchStore(b)})
		})
	}
}

type load struct {
	writers int
	store   *Store // nil for none
	work    func() // nil for none
}

func benchIntend(b *testing.B, l load) {
	templates := make([]ca.Record, 1000) // few, so that the collector does not measure the benchmark
	for i := range templates {
		templates[i] = benchRecord(i)
	}
	waits := make([]time.Duration, b.N)
	once := func(i int) error {
		begun := time.Now()
		if l.store != nil {
			r := templates[i%len(templates)]
			r.Serial = fmt.Sprintf("7f%030x", i)
			if err := l.store.Intend(b.Context(), r); err != nil {
				return err
			}
		}
		waits[i] = time.Since(begun)
		if l.work != nil {
			l.work()
		}
		return nil
	}
	var next atomic.Int64
	var group sync.WaitGroup
	before := cpuTime(b)
	b.ResetTimer()
	for range l.writers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				if err := once(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	used := cpuTime(b) - before
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "cpu-µs/record")
	if l.store != nil {
		slices.Sort(waits)
		b.ReportMetric(float64(b.N)/float64(l.store.writes.log.commits), "records/commit")
		b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1e3, "p50-ms")
		b.ReportMetric(float64(waits[len(waits)*999/1000].Microseconds())/1e3, "p99.9-ms")
	}
}

func benchStore(b *testing.B) *Store {
	dir := b.TempDir()
	if named := os.Getenv("BENCH_DIR"); named != "" {
		var err error
		dir, err = os.MkdirTemp(named, "bench")
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, os.RemoveAll(dir)) })
	}
	return openStore(b, filepath.Join(dir, "store"))
}

// benchRecord is a record of a Kubernetes workload, some 390 bytes encoded.
func benchRecord(n int) ca.Record {
	now := time.Now()
	return ca.Record{
		Serial:   fmt.Sprintf("7e%030x", n),
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
