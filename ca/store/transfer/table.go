package transfer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// table says how a table is read in order and written.
type table struct {
	name    string
	columns []string
	key     int // how many of the columns, the first ones, are the key
	portion int // rows of one statement
}

// tables are all that have content. The row of the store itself is made anew.
var tables = []table{
	{"records", []string{"seq", "body", "head"}, 1, 500},
	{"events", []string{"seq", "body", "head"}, 1, 100},
	{"voids", []string{"seq", "record_seq", "reason", "head"}, 1, 500},
	{"segments", []string{"first_seq", "last_seq", "issued_min", "issued_max", "not_after_max", "filter"}, 1, 100},
	{"replica_states", []string{"replica", "version", "body"}, 1, 1},
	{"join_tokens", []string{"hash", "identity", "expires_at", "created_by", "used_at"}, 1, 500},
	{"documents", []string{"kind", "name", "version", "body"}, 2, 10},
}

// selectAfter reads the next portion; after is the key of the last row, or nothing.
func (t table) selectAfter(after []any) (string, []any) {
	query := "SELECT " + strings.Join(t.columns, ", ") + " FROM " + t.name
	key := strings.Join(t.columns[:t.key], ", ")
	if len(after) > 0 {
		query += " WHERE (" + key + ") > (" + marks(t.key) + ")"
	}
	return query + fmt.Sprintf(" ORDER BY %s LIMIT %d", key, t.portion), after
}

func (t table) insert(rows int) string {
	row := "(" + marks(len(t.columns)) + ")"
	return "INSERT INTO " + t.name + " (" + strings.Join(t.columns, ", ") + ") VALUES " +
		strings.TrimSuffix(strings.Repeat(row+", ", rows), ", ")
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// copying is one table on its way.
type copying struct {
	table
	rows     uint64 // that there are
	progress Progress
}

func copyTable(ctx context.Context, source, target *side, c copying) error {
	var after []any
	for done := uint64(0); ; {
		c.progress(c.name, done, c.rows)
		query, args := c.selectAfter(after)
		rows, err := portion(ctx, source, query, args, len(c.columns))
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			if done != c.rows {
				return fmt.Errorf("%d rows were read of %d", done, c.rows)
			}
			return nil
		}
		after = append([]any(nil), rows[len(rows)-1][:c.key]...)
		var values []any
		for _, row := range rows {
			if c.name == "replica_states" && row[0] == source.Replica {
				row[0] = target.Replica
			}
			values = append(values, row...)
		}
		if _, err := target.tx.ExecContext(ctx, target.Dialect.Bind(c.insert(len(rows))), values...); err != nil {
			return fmt.Errorf("writing rows: %w", err)
		}
		done += uint64(len(rows))
	}
}

func portion(ctx context.Context, s *side, query string, args []any, columns int) (all [][]any, err error) {
	rows, err := s.tx.QueryContext(ctx, s.Dialect.Bind(query), args...)
	if err != nil {
		return nil, fmt.Errorf("reading rows: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, targets := make([]any, columns), make([]any, columns)
		for i := range row {
			targets[i] = &row[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, fmt.Errorf("reading rows: %w", err)
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// Nobody is the Freeze of an end that nobody else can have open.
func Nobody(context.Context, *sql.Tx) error { return nil }
