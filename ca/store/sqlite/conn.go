package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	"modernc.org/sqlite"
)

// conn is one connection without database/sql around it: database/sql converts
// and locks for every argument, which costs as much as SQLite itself does for a
// record. A conn belongs to one goroutine.
type conn struct {
	driver interface {
		driver.ExecerContext
		driver.QueryerContext
		driver.ConnPrepareContext
		io.Closer
	}
}

// stmt is a prepared statement.
type stmt interface {
	driver.StmtExecContext
	io.Closer
}

// dsn is the name under which the driver opens the database. synchronous=FULL
// syncs the write-ahead log at every commit. Checkpoints are made by this
// package, never by a commit. _defensive and trusted_schema keep a database that
// somebody has tampered with from running code of its own.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append(pragmas, "busy_timeout(5000)", "trusted_schema(0)", "temp_store(MEMORY)")}
	q.Set("_defensive", "1")
	q.Set("_dqs", "0")
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

func writeDSN(path string) string {
	return dsn(path, "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(0)",
		"journal_size_limit(67108864)", "cache_size(-4096)")
}

func readDSN(path string) string {
	return dsn(path, "query_only(1)", "cache_size(-1024)") + "&mode=ro"
}

func dial(dsn string) (*conn, error) {
	opened, err := new(sqlite.Driver).Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("opening database: %w", err)
	}
	c := &conn{}
	ok := false
	if c.driver, ok = opened.(interface {
		driver.ExecerContext
		driver.QueryerContext
		driver.ConnPrepareContext
		io.Closer
	}); !ok {
		return nil, errors.Join(fmt.Errorf("the SQLite driver lacks what is needed"), opened.Close())
	}
	return c, nil
}

func (c *conn) close() error { return c.driver.Close() }

func (c *conn) prepare(query string) (stmt, error) {
	prepared, err := c.driver.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("preparing %q: %w", query, err)
	}
	s, ok := prepared.(stmt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the SQLite driver lacks what is needed"), prepared.Close())
	}
	return s, nil
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	result, err := c.driver.ExecContext(context.Background(), query, named(args))
	if err != nil {
		return 0, fmt.Errorf("running %.40q: %w", query, err)
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("running %.40q: %w", query, err)
	}
	return changed, nil
}

// query returns every row of a small result.
func (c *conn) query(query string, args ...any) (all [][]driver.Value, err error) {
	rows, err := c.driver.QueryContext(context.Background(), query, named(args))
	if err != nil {
		return nil, fmt.Errorf("running %.40q: %w", query, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		row := make([]driver.Value, len(rows.Columns()))
		err := rows.Next(row)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %.40q: %w", query, err)
		}
		all = append(all, row)
	}
}

// queryInt returns the one integer of a result of one row.
func (c *conn) queryInt(query string, args ...any) (int64, error) {
	rows, err := c.query(query, args...)
	if err != nil {
		return 0, err
	}
	if len(rows) != 1 {
		return 0, fmt.Errorf("%.40q returned %d rows, not one", query, len(rows))
	}
	n, ok := rows[0][0].(int64)
	if !ok {
		return 0, fmt.Errorf("%.40q returned a %T, not an integer", query, rows[0][0])
	}
	return n, nil
}

// transaction runs do between BEGIN and COMMIT. BEGIN IMMEDIATE takes the write
// lock at once, so that no statement in between can fail for want of it.
func (c *conn) transaction(do func() error) error {
	if _, err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := do(); err != nil {
		if _, rollbackErr := c.exec("ROLLBACK"); rollbackErr != nil {
			return errors.Join(err, rollbackErr)
		}
		return err
	}
	_, err := c.exec("COMMIT")
	return err
}

func named(args []any) []driver.NamedValue {
	values := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	return values
}
