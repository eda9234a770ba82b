package secretfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckDir judges a directory that holds secrets: a directory and no link to
// one, of this process's user or root, and closed to everyone else. With that,
// nobody else can put a link or another file in the place of one inside it.
func CheckDir(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("opening directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("opening %s: it is a %s, not a directory; name the directory itself", path, kind(info.Mode()))
	}
	return checkAccess(path, info, openToAny)
}

// MakeDir makes the directory at path with mode 0700, if there is none, and
// judges it as CheckDir does. Its parent must exist.
func MakeDir(path string) error {
	err := os.Mkdir(path, dirMode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return CheckDir(path)
	case err != nil:
		return fmt.Errorf("making directory: %w", err)
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("making directory %s: %w", path, err)
	}
	return CheckDir(path)
}

// SyncDir makes the names in a directory durable.
func SyncDir(path string) (err error) {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory %s: %w", path, err)
	}
	return nil
}
