package sqlite

import (
	"fmt"

	"github.com/kedge-ca/kedge/ca/store/ledger"
	"github.com/kedge-ca/kedge/ca/store/schema"
)

// migrate brings the database to the schema of this program, in one transaction, and
// counts the opening in another.
func migrate(c *conn) error {
	if err := updateSchema(c); err != nil {
		return err
	}
	return c.transaction(func() error { return beginGeneration(c) })
}

// updateSchema also names a new store.
func updateSchema(c *conn) error {
	migrations, err := schema.Migrations(schema.SQLite())
	if err != nil {
		return err
	}
	return c.transaction(func() error {
		version, err := schemaVersion(c)
		if err != nil {
			return err
		}
		if err := schema.CheckVersion(version, len(migrations)); err != nil {
			return err
		}
		for _, m := range migrations[version:] {
			if _, err := c.exec(m.SQL); err != nil {
				return fmt.Errorf("migration %s: %w", m.Name, err)
			}
		}
		if _, err = c.exec("UPDATE schema_version SET version = ?", int64(len(migrations))); err != nil {
			return err
		}
		name, err := ledger.NewName()
		if err != nil {
			return err
		}
		_, err = c.exec("INSERT INTO store (id, name, generation) VALUES (1, ?, 0) ON CONFLICT DO NOTHING", name)
		return err
	})
}

// beginGeneration counts this opening, and refuses a store whose content is
// elsewhere.
func beginGeneration(c *conn) error {
	rows, err := c.query("UPDATE store SET generation = generation + 1 WHERE id = 1 RETURNING moved_to")
	if err != nil {
		return err
	}
	if len(rows) == 1 {
		if movedTo, ok := rows[0][0].(string); ok {
			return ledger.ErrMoved(movedTo)
		}
	}
	return nil
}

// schemaVersion reads the version, 0 in a database that it has just begun. A
// database with tables but without a version is somebody else's.
func schemaVersion(c *conn) (int, error) {
	tables, err := c.queryInt("SELECT count(*) FROM sqlite_master")
	if err != nil {
		return 0, err
	}
	if tables == 0 {
		if _, err := c.exec("CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT"); err != nil {
			return 0, err
		}
		_, err := c.exec("INSERT INTO schema_version (version) VALUES (0)")
		return 0, err
	}
	return readVersion(c)
}

func readVersion(c *conn) (int, error) {
	ours, err := c.queryInt("SELECT count(*) FROM sqlite_master WHERE name = 'schema_version'")
	if err != nil {
		return 0, err
	}
	if ours == 0 {
		return 0, fmt.Errorf("it is a database of another program; give Kedge a directory of its own")
	}
	version, err := c.queryInt("SELECT version FROM schema_version")
	return int(version), err
}

// checkCurrent refuses a database that is not of this program's schema, for
// readers, which migrate nothing.
func checkCurrent(c *conn) error {
	migrations, err := schema.Migrations(schema.SQLite())
	if err != nil {
		return err
	}
	version, err := readVersion(c)
	if err != nil {
		return err
	}
	return schema.CheckCurrent(version, len(migrations))
}
