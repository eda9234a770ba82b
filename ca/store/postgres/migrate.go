package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/kedge-ca/kedge/ca/store/ledger"
	"github.com/kedge-ca/kedge/ca/store/schema"
)

// migrationLock is the advisory lock of whoever brings the schema up to date. It
// ends with the transaction, so that no pooler can keep it.
const migrationLock = 0x6b65646765

// migrate brings the database to the schema of this program, in one transaction.
func migrate(ctx context.Context, db *sql.DB) error {
	return transaction(ctx, db, func(tx *sql.Tx) error {
		if err := updateSchema(ctx, tx); err != nil {
			return err
		}
		if err := nameStore(ctx, tx); err != nil {
			return err
		}
		return beginGeneration(ctx, tx)
	})
}

func updateSchema(ctx context.Context, tx *sql.Tx) error {
	migrations, err := schema.Migrations(schema.PostgreSQL())
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
		return fmt.Errorf("waiting for other replicas: %w", err)
	}
	version, err := schemaVersion(ctx, tx)
	if err != nil {
		return err
	}
	if err := schema.CheckVersion(version, len(migrations)); err != nil {
		return err
	}
	for _, m := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, m.SQL); err != nil { // without arguments, so it may be several statements
			return fmt.Errorf("migration %s: %w", m.Name, err)
		}
	}
	_, err = tx.ExecContext(ctx, "UPDATE schema_version SET version = $1 WHERE version <> $1", len(migrations))
	return err
}

// nameStore names a new store.
func nameStore(ctx context.Context, tx *sql.Tx) error {
	name, err := ledger.NewName()
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO store (id, name, generation) VALUES (1, $1, 0) ON CONFLICT DO NOTHING", name); err != nil {
		return fmt.Errorf("naming the store: %w", err)
	}
	return nil
}

// beginGeneration counts this opening, and refuses a store whose content is
// elsewhere.
func beginGeneration(ctx context.Context, tx *sql.Tx) error {
	var movedTo sql.NullString
	err := tx.QueryRowContext(ctx, "UPDATE store SET generation = generation + 1 WHERE id = 1 RETURNING moved_to").Scan(&movedTo)
	if err != nil {
		return fmt.Errorf("counting this opening: %w", err)
	}
	if movedTo.Valid {
		return ledger.ErrMoved(movedTo.String)
	}
	return nil
}

// schemaVersion reads the version, 0 in a schema that it has just begun. Tables
// without a version are somebody else's.
func schemaVersion(ctx context.Context, tx *sql.Tx) (int, error) {
	var tables int
	err := tx.QueryRowContext(ctx, "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()").Scan(&tables)
	if err != nil {
		return 0, fmt.Errorf("listing tables: %w", err)
	}
	if tables > 0 {
		return readVersion(ctx, tx)
	}
	_, err = tx.ExecContext(ctx, "CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version (version) VALUES (0)")
	if err != nil {
		return 0, fmt.Errorf("making tables: %w", err)
	}
	return 0, nil
}

func readVersion(ctx context.Context, q ledger.Querier) (int, error) {
	var isOurs bool
	err := q.QueryRowContext(ctx, "SELECT count(*) = 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_version'").Scan(&isOurs)
	if err != nil {
		return 0, fmt.Errorf("listing tables: %w", err)
	}
	if !isOurs {
		return 0, errors.New("there is no store of Kedge in it; give Kedge a database or a schema of its own")
	}
	var version int
	if err := q.QueryRowContext(ctx, "SELECT version FROM schema_version").Scan(&version); err != nil {
		return 0, fmt.Errorf("reading the schema's version: %w", err)
	}
	return version, nil
}

func checkCurrent(ctx context.Context, db *sql.DB) error {
	migrations, err := schema.Migrations(schema.PostgreSQL())
	if err != nil {
		return err
	}
	version, err := readVersion(ctx, db)
	if err != nil {
		return err
	}
	return schema.CheckCurrent(version, len(migrations))
}

// transaction runs do in one transaction.
func transaction(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}
