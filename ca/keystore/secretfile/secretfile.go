package secretfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Modes that files and directories get, and the bits that they must not have.
const (
	fileMode    = 0o600
	dirMode     = 0o700
	openToAny   = 0o077 // a secret: nothing for group and others
	openToOther = 0o037 // a credential: reading for the group, see ReadCredential
	writableAny = 0o022 // public: readable by all, written by its owner only
)

// Open opens the secret file at path for reading after the checks of this
// package. The checks are made on the open file, so that nothing can change
// between check and use; O_NONBLOCK keeps a FIFO from blocking the open.
// A path that does not exist satisfies errors.Is(err, fs.ErrNotExist).
func Open(path string) (*os.File, error) { return open(path, openToAny) }

// Read returns the content of the secret file at path, of at most limit bytes.
func Read(path string, limit int64) ([]byte, error) { return read(path, limit, openToAny) }

// ReadPublic returns the content of a file that everyone may read but only its
// owner may write, such as the certificate that stands beside a key.
func ReadPublic(path string, limit int64) ([]byte, error) { return read(path, limit, writableAny) }

// ReadCredential is Read for a credential of systemd. Where a service has a user
// of its own, systemd gives it the file by an access control list, whose mask
// stat(2) shows as the mode of the group: 0440 of root, and nobody else gets in.
func ReadCredential(path string, limit int64) ([]byte, error) {
	return read(path, limit, openToOther)
}

func read(path string, limit int64, forbidden fs.FileMode) ([]byte, error) {
	f, err := open(path, forbidden)
	if err != nil {
		return nil, err
	}
	return readAll(f, path, limit)
}

// readAll reads the open file, and closes it.
func readAll(f *os.File, path string, limit int64) (content []byte, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	content, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("reading %s: it is larger than %d bytes; this cannot be the right file", path, limit)
	}
	return content, nil
}

func open(path string, forbidden fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("opening %s: it is a symbolic link; name the file itself", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening file: %w", err) // an *fs.PathError names the path
	}
	info, err := f.Stat()
	if err == nil {
		err = check(path, info, forbidden)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// check judges an open file.
func check(path string, info fs.FileInfo, forbidden fs.FileMode) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("opening %s: it is a %s, not a regular file; name the file itself", path, kind(info.Mode()))
	}
	return checkAccess(path, info, forbidden)
}

// checkAccess judges owner and mode of a file or directory.
func checkAccess(path string, info fs.FileInfo, forbidden fs.FileMode) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("opening %s: the system does not tell its owner", path)
	}
	if self := os.Geteuid(); stat.Uid != 0 && int(stat.Uid) != self {
		return fmt.Errorf("opening %s: it belongs to uid %d; run chown %d %s", path, stat.Uid, self, path)
	}
	if info.Mode().Perm()&forbidden != 0 {
		want := info.Mode().Perm() &^ forbidden
		return fmt.Errorf("opening %s: mode %04o lets others at it; run chmod %04o %s", path, info.Mode().Perm(), want, path)
	}
	return nil
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "FIFO"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode.IsRegular():
		return "regular file"
	}
	return "device"
}

// Create writes content to a new file at path with mode 0600. It returns when
// the file would survive a crash, and fails with fs.ErrExist, changing nothing,
// when there is anything at path.
//
// The content goes to a temporary name first and gets its own by link(2), which
// unlike rename(2) never replaces a file: a crash leaves the whole file or none,
// and of two writers one wins.
func Create(path string, content []byte) error { return create(path, content, fileMode) }

// CreatePublic is Create for a file that everyone may read.
func CreatePublic(path string, content []byte) error { return create(path, content, 0o644) }

func create(path string, content []byte, mode fs.FileMode) (err error) {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()+".tmp")
	defer func() {
		if removeErr := os.Remove(temp); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}()
	if err := writeSynced(temp, content, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Link(temp, path); err != nil {
		return fmt.Errorf("naming the new file: %w", err) // an *os.LinkError names both paths
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func writeSynced(path string, content []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// Remove unlinks path and returns when that would survive a crash. A file that
// does not exist is no error.
//
// Known limit: the blocks are not overwritten first. On journaling,
// copy-on-write and flash storage the old blocks stay wherever an overwrite
// goes, so it would promise what it cannot do; what protects a removed key is
// that it was encrypted.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing file: %w", err)
	}
	return SyncDir(filepath.Dir(path))
}

// Check judges the secret file at path without opening it, for files that another
// library opens by name: only inside a directory that CheckDir has passed does
// the judgement last.
func Check(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("opening file: %w", err)
	}
	return check(path, info, openToAny)
}
