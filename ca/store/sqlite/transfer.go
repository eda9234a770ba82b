package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"modernc.org/sqlite"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/ca/store/schema"
	"github.com/kedge-ca/kedge/ca/store/transfer"
)

// OpenEnd opens the database in dir to be moved from or to, and keeps servers out
// until it is closed. It is made when there is none and mayMake is true; its parent
// must exist.
func OpenEnd(dir string, mayMake bool) (*transfer.End, error) {
	end, err := openEnd(dir, mayMake)
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", dir, err)
	}
	return end, nil
}

func openEnd(dir string, mayMake bool) (*transfer.End, error) {
	path, err := filepath.Abs(filepath.Join(dir, fileName))
	if err != nil {
		return nil, err
	}
	if !mayMake {
		if err := errors.Join(secretfile.CheckDir(dir), checkFiles(path)); err != nil {
			return nil, err
		}
	}
	if err := secretfile.MakeDir(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	end := &transfer.End{Dialect: schema.SQLite(), Place: filepath.Dir(path), Freeze: transfer.Nobody}
	end.Close = func() error {
		var err error
		if end.DB != nil {
			err = end.DB.Close()
		}
		return errors.Join(err, lock.Close())
	}
	if err := prepareEnd(end, path); err != nil {
		return nil, errors.Join(err, end.Close())
	}
	return end, nil
}

func prepareEnd(end *transfer.End, path string) error {
	if err := prepareFiles(path); err != nil {
		return err
	}
	c, err := dial(writeDSN(path))
	if err != nil {
		return err
	}
	if err := errors.Join(updateSchema(c), c.close()); err != nil {
		return err
	}
	connector, err := sqlite.NewConnector(writeDSN(path))
	if err != nil {
		return err
	}
	end.DB = sql.OpenDB(connector)
	end.DB.SetMaxOpenConns(1)
	return nil
}

// VerifyFile verifies a copy that Backup made, and returns how many records it has.
func VerifyFile(ctx context.Context, file string) (records uint64, err error) {
	if err := checkFiles(file); err != nil {
		return 0, err
	}
	s := &Store{path: file}
	if err := s.openReads(file); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Verify(ctx)
}

// Backup writes a copy of the database in dir to a new file of mode 0600, beside
// the server, which goes on. It returns when the copy would survive a crash. While
// it runs the write-ahead log cannot begin anew, and grows.
func Backup(ctx context.Context, dir, file string) (err error) {
	s, err := Open(Config{Dir: dir, ReadOnly: true}) // judges what it is
	if err != nil {
		return err
	}
	path, err := s.path, s.Close()
	if err != nil {
		return err
	}
	c, err := dial(dsn(path) + "&mode=ro") // query_only would keep it from writing the copy, too
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // SQLite fills a file that is empty
	if err != nil {
		return fmt.Errorf("making the copy: %w", err)
	}
	_, err = c.driver.ExecContext(ctx, "VACUUM INTO ?", named([]any{file}))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = secretfile.SyncDir(filepath.Dir(file))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("copying the database: %w", err), os.Remove(file))
	}
	return nil
}
