package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"modernc.org/sqlite"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/ledger"
	"github.com/kedge-ca/kedge/ca/store/schema"
)

// fileName is the database inside Config.Dir. Beside it stand the write-ahead
// log, its index and the lock.
const fileName = "kedge.db"

// Config says where the store is and how it behaves.
type Config struct {
	// Dir holds the database. It is made with mode 0700 if there is none; its
	// parent must exist.
	Dir string
	// ReadOnly opens a database that may be in use by another process and refuses
	// to write. It makes nothing.
	ReadOnly bool
	// Queue is how many writes may wait; 0 means 4 096. One more is refused.
	Queue int
}

// Store is an open database. It implements store.Durable.
type Store struct {
	*ledger.Reader

	reads  *sql.DB
	path   string
	writes *writer // nil when opened read-only
	lock   *os.File

	closeOnce sync.Once
	closeErr  error
}

var _ store.Durable = (*Store)(nil)

// Open opens the store and, unless read-only, makes it and brings its schema up
// to date. The caller closes it.
func Open(c Config) (*Store, error) {
	if c.Queue == 0 {
		c.Queue = 4096
	}
	if c.Dir == "" || c.Queue < 0 {
		return nil, fmt.Errorf("opening store: it needs a directory and a queue that is not negative")
	}
	path, err := filepath.Abs(filepath.Join(c.Dir, fileName))
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	// Once in a process, before the first sync: fdatasync leaves out what SQLite
	// does not need, the times of a file (and is what every Linux distribution's
	// SQLite calls). Where it does not exist, fsync stays.
	if _, err := sqlite.Fdatasync(true); err != nil && !errors.Is(err, sqlite.ErrFdatasyncUnavailable) {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s := &Store{path: path}
	if c.ReadOnly {
		err = s.openReadOnly(path)
	} else {
		err = s.openForWriting(c, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening store %s: %w", path, err), s.Close())
	}
	return s, nil
}

func (s *Store) openForWriting(c Config, path string) error {
	dir := filepath.Dir(path)
	if err := secretfile.MakeDir(dir); err != nil {
		return err
	}
	var err error
	if s.lock, err = takeLock(filepath.Join(dir, "lock")); err != nil {
		return err
	}
	if err := prepareFiles(path); err != nil {
		return err
	}
	if err = s.openReads(path); err != nil {
		return err
	}
	s.writes, err = startWriter(c, path, s.SerialExists)
	return err
}

func (s *Store) openReadOnly(path string) error {
	if err := secretfile.CheckDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := checkFiles(path); err != nil {
		return err
	}
	c, err := dial(readDSN(path))
	if err != nil {
		return err
	}
	if err := errors.Join(checkCurrent(c), c.close()); err != nil {
		return err
	}
	return s.openReads(path)
}

// openReads makes the pool of connections that only read. Each has its own
// snapshot; none waits for the writer.
func (s *Store) openReads(path string) error {
	connector, err := sqlite.NewConnector(readDSN(path))
	if err != nil {
		return fmt.Errorf("opening database for reading: %w", err)
	}
	s.reads = sql.OpenDB(connector)
	s.reads.SetMaxOpenConns(4)
	s.reads.SetMaxIdleConns(1)
	s.Reader = ledger.NewReader(s.reads, schema.SQLite(), "")
	return nil
}

// prepareFiles makes the database file, because SQLite would make it readable to
// all; its companions get the mode of the database.
func prepareFiles(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return checkFiles(path)
	}
	if err != nil {
		return fmt.Errorf("making database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("making database: %w", err)
	}
	if err := secretfile.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("making database: %w", err)
	}
	return checkFiles(path)
}

// checkFiles judges the files without opening them: closing a file drops the
// locks that SQLite, in this same process, may hold on it (POSIX, fcntl(2)).
func checkFiles(path string) error {
	if err := secretfile.Check(path); err != nil {
		return err
	}
	for _, companion := range []string{path + "-wal", path + "-shm"} {
		if err := secretfile.Check(companion); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// takeLock makes this process the only writer. The kernel releases the lock when
// the process ends, however it ends.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another process has it open for writing; stop that one, or ask it over its admin socket: %w", err), f.Close())
	}
	return f, nil
}

// Close writes what was accepted, refuses everything else, and releases the
// directory. It may be called more than once.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		var errs []error
		if s.writes != nil {
			s.writes.stop()
		}
		if s.reads != nil {
			errs = append(errs, s.reads.Close())
		}
		if s.writes != nil { // last, because the last connection copies the write-ahead log into the database
			errs = append(errs, s.writes.close())
		}
		if s.lock != nil {
			errs = append(errs, s.lock.Close())
		}
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}
