package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/kedge-ca/kedge/ca/store/schema"
	"github.com/kedge-ca/kedge/ca/store/transfer"
)

// OpenEnd opens the database to be moved from or to, and brings its schema up to
// date. Servers that have it open are found when the move begins.
func OpenEnd(ctx context.Context, c Config) (*transfer.End, error) {
	cc, err := c.connConfig()
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	cc.RuntimeParams["application_name"] = "kedge-move"
	delete(cc.RuntimeParams, "idle_in_transaction_session_timeout") // the other end may be slow
	db := stdlib.OpenDB(*cc)
	err = transaction(ctx, db, func(tx *sql.Tx) error {
		if err := updateSchema(ctx, tx); err != nil {
			return err
		}
		return nameStore(ctx, tx)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening store %s: %w", Redact(c.URL), err), db.Close())
	}
	return &transfer.End{
		DB: db, Dialect: schema.PostgreSQL(), Place: Redact(c.URL), Replica: c.Replica, Freeze: freeze, Close: db.Close,
	}, nil
}

// freeze refuses when a replica is connected, and keeps those out that would be
// within the next moments.
func freeze(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE $1",
		applicationPrefix+"%")
	if err != nil {
		return fmt.Errorf("looking for replicas: %w", err)
	}
	var replicas []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return errors.Join(err, rows.Close())
		}
		replicas = append(replicas, strings.TrimPrefix(name, applicationPrefix))
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("looking for replicas: %w", err)
	}
	if len(replicas) > 0 {
		return fmt.Errorf("replicas have it open: %s; stop them", strings.Join(replicas, ", "))
	}
	if _, err := tx.ExecContext(ctx, "LOCK TABLE records, events, voids, segments, replica_states, join_tokens, documents, store IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("keeping writers out: %w", err)
	}
	return nil
}
