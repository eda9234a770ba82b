package sqlite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

// hold keeps the writer busy until release is called.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	isHeld, goOn := make(chan struct{}), make(chan struct{})
	finished := make(chan error, 1)
	go func() {
		j := s.writes.newJob()
		j.alone = func(*conn) error {
			close(isHeld)
			<-goOn
			return nil
		}
		finished <- s.writes.submit(context.Background(), j)
	}()
	<-isHeld
	return func() {
		close(goOn)
		require.NoError(t, <-finished)
	}
}

// queued waits until n jobs are in the queue.
func queued(t *testing.T, s *Store, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(s.writes.queue) == n }, 10*time.Second, time.Millisecond)
}

func TestRecordsThatWaitTogetherAreCommittedTogether(t *testing.T) {
	s := openStore(t, storeDir(t))
	release := hold(t, s)
	var group sync.WaitGroup
	for n := range 100 {
		group.Go(func() {
			if err := s.Intend(t.Context(), benchRecord(n)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Go(func() {
		if err := s.Append(t.Context(), ca.Event{Actor: "uid:0", Action: "test"}); err != nil {
			t.Error(err)
		}
	})
	queued(t, s, 101)
	release()
	group.Wait()
	require.NoError(t, s.Close())
	require.Equal(t, 1, s.writes.log.commits)
}

func TestAFullQueueRefusesAtOnce(t *testing.T) {
	s, err := Open(Config{Dir: storeDir(t), Queue: 2})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	release := hold(t, s)
	answers := make(chan error, 2)
	for n := range 2 {
		go func() { answers <- s.Intend(t.Context(), benchRecord(n)) }()
	}
	queued(t, s, 2)
	err = s.Intend(t.Context(), benchRecord(2))
	require.Equal(t, ca.ReasonOverloaded, ca.ReasonOf(err))
	require.ErrorContains(t, err, "2 writes are waiting")
	_, err = s.Replace(t.Context(), 0, ca.State{})
	require.Equal(t, ca.ReasonOverloaded, ca.ReasonOf(err))
	release()
	require.NoError(t, <-answers)
	require.NoError(t, <-answers)
	require.EqualValues(t, 2, count(t, s))
}

func TestACallerWhoseTimeEndsIsToldAndTheOthersAreNotHurt(t *testing.T) {
	s := openStore(t, storeDir(t))
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	impatient, patient := make(chan error), make(chan error)
	go func() { impatient <- s.Intend(ctx, benchRecord(0)) }()
	queued(t, s, 1)
	go func() { patient <- s.Intend(t.Context(), benchRecord(1)) }()
	queued(t, s, 2)
	cancel()
	err := <-impatient
	require.Equal(t, ca.ReasonOverloaded, ca.ReasonOf(err))
	require.ErrorIs(t, err, context.Canceled)
	release()
	require.NoError(t, <-patient)
}

func TestCloseAnswersEveryoneAndLosesNothing(t *testing.T) {
	dir := storeDir(t)
	s := openStore(t, dir)
	var recorded atomic.Int64
	var group sync.WaitGroup
	for w := range 16 {
		group.Go(func() {
			for n := 0; ; n++ {
				if err := s.Intend(t.Context(), benchRecord(w*1_000_000+n)); err != nil {
					if ca.ReasonOf(err) != ca.ReasonDraining {
						t.Errorf("a late caller has %v", err)
					}
					return
				}
				recorded.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return recorded.Load() > 200 }, 10*time.Second, time.Millisecond)
	require.NoError(t, s.Close())
	group.Wait()
	require.EqualValues(t, recorded.Load(), count(t, openStore(t, dir)))
}

func TestCloseWritesWhatIsQueued(t *testing.T) {
	dir := storeDir(t)
	s := openStore(t, dir)
	release := hold(t, s)
	answers := make(chan error, 5)
	for n := range 5 {
		go func() { answers <- s.Intend(t.Context(), benchRecord(n)) }()
	}
	queued(t, s, 5)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	require.Eventually(t, func() bool {
		s.writes.mu.RLock()
		defer s.writes.mu.RUnlock()
		return s.writes.closed
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, ca.ReasonDraining, ca.ReasonOf(s.Intend(t.Context(), benchRecord(9))))
	release()
	for range 5 {
		require.NoError(t, <-answers)
	}
	require.NoError(t, <-closed)
	require.EqualValues(t, 5, count(t, openStore(t, dir)))
}

// The page limit stands in for a full disk: it fails in the middle of a
// transaction, and it is gone when the store has opened its connection anew.
func TestAFailedCommitFailsItsRecordsAndNoOthers(t *testing.T) {
	s := openStore(t, storeDir(t))
	intend(t, s, 0, 1100) // so that a whole segment waits to be stored
	j := s.writes.newJob()
	j.alone = func(c *conn) error {
		_, err := c.query("PRAGMA max_page_count = 1") // SQLite raises it to what there is
		return err
	}
	require.NoError(t, s.writes.submit(t.Context(), j))

	release := hold(t, s)
	answers := make(chan error)
	for n := range 50 {
		go func() { answers <- s.Intend(t.Context(), benchRecord(2000+n)) }()
	}
	queued(t, s, 50)
	release()
	for range 50 {
		err := <-answers
		require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(err))
		require.ErrorContains(t, err, "database or disk is full")
	}
	intend(t, s, 2000, 2050) // the same serials: they were not recorded, and not remembered
	require.EqualValues(t, 1150, count(t, s))
	require.Error(t, s.Intend(t.Context(), benchRecord(2001)), "now they are")
}

// A process whose files cannot grow gets errors from the system itself, at any
// write: of the log, of the database, of the index.
func TestADiskThatDoesNotTakeMoreIsSurvived(t *testing.T) {
	const childVar = "KEDGE_SQLITE_FULL"
	if dir := os.Getenv(childVar); dir != "" {
		fullDisk(t, dir)
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), childVar+"="+storeDir(t))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "recorded 300")
}

func fullDisk(t *testing.T, dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	s := openStore(t, dir)
	recorded := make(map[int]bool)
	refused := 0
	for n := 0; len(recorded) < 300; n++ {
		// The limit walks through every size that the files go through.
		limit := old
		if n%3 != 0 {
			info, err := os.Stat(filepath.Join(dir, fileName+"-wal"))
			require.NoError(t, err)
			limit.Cur = uint64(info.Size()) + uint64(n*997%12_000)
		}
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
		err := s.Intend(t.Context(), benchRecord(n))
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
		if err == nil {
			recorded[n] = true
			continue
		}
		require.Equal(t, ca.ReasonRecordFailed, ca.ReasonOf(err), "%v", err)
		require.NotZero(t, n%3, "without a limit: %v", err)
		refused++
	}
	require.Greater(t, refused, 20, "the limit was felt")
	require.NoError(t, s.Close())
	s = openStore(t, dir)
	require.GreaterOrEqual(t, count(t, s), uint64(300))
	for n := range recorded {
		found, err := s.Records(t.Context(), ca.Query{Serial: benchRecord(n).Serial})
		require.NoError(t, err)
		require.Len(t, found, 1)
	}
	fmt.Println("recorded", len(recorded), "refused", refused)
}

// Readers that never stop and writers that never stop: the write-ahead log is
// begun anew all the same.
func TestWriteAheadLogStaysBounded(t *testing.T) {
	dir := storeDir(t)
	s := openStore(t, dir)
	ctx, stop := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Records(t.Context(), ca.Query{Newest: true, Identity: "spiffe://cluster.local/ns/none/"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var largest atomic.Int64
	for w := range 32 {
		writers.Go(func() {
			for n := range 60_000 / 32 {
				if err := s.Intend(t.Context(), benchRecord(w*100_000+n)); err != nil {
					t.Error(err)
				}
				if info, err := os.Stat(filepath.Join(dir, fileName+"-wal")); err == nil && info.Size() > largest.Load() {
					largest.Store(info.Size())
				}
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	t.Logf("write-ahead log of up to %d MB for 60 000 records", largest.Load()>>20)
	require.Less(t, largest.Load(), int64(3*restartAt))
	require.NoError(t, s.Close())
	require.NoFileExists(t, filepath.Join(dir, fileName+"-wal"), "closing copies everything")
}

func TestSegmentsAreStoredAsRecordsComeAndReadAtStart(t *testing.T) {
	dir := storeDir(t)
	s := openStore(t, dir)
	intend(t, s, 0, 2*journal.SegmentLen+5)
	require.NoError(t, s.Close())
	require.EqualValues(t, 5, s.writes.log.tail.Len())
	s = openStore(t, dir)
	require.EqualValues(t, 5, s.writes.log.tail.Len())
	var segments int
	require.NoError(t, s.reads.QueryRowContext(t.Context(), "SELECT count(*) FROM segments").Scan(&segments))
	require.Equal(t, 2, segments)
}
