package sqlite

import (
	"context"
	"fmt"
	"math"

	"github.com/kedge-ca/kedge/ca"
)

// The statements that change documents. A row without a body stands for a
// document that was deleted and gives the next one of its name a version.
const (
	addDocument = `INSERT INTO documents (kind, name, version, body) VALUES (?, ?, 1, ?)
		ON CONFLICT (kind, name) DO UPDATE SET version = version + 1, body = excluded.body WHERE body IS NULL
		RETURNING version`
	swapDocument = `UPDATE documents SET version = version + 1, body = ?
		WHERE kind = ? AND name = ? AND version = ? AND body IS NOT NULL RETURNING version`
	removeDocument = `UPDATE documents SET version = version + 1, body = NULL
		WHERE kind = ? AND name = ? AND version = ? AND body IS NOT NULL RETURNING version`
)

// PutDocument implements ca.Documents.
func (s *Store) PutDocument(ctx context.Context, kind, name string, old ca.Version, body []byte) (ca.Version, error) {
	if err := ca.CheckDocument(kind, name, body); err != nil {
		return 0, fmt.Errorf("storing document: %w", err)
	}
	query, args := swapDocument, []any{body, kind, name, int64(min(old, math.MaxInt64))}
	if old == 0 {
		query, args = addDocument, []any{kind, name, body}
	}
	version, err := s.swap(ctx, old, query, args)
	if err != nil {
		return 0, fmt.Errorf("storing document %s %s: %w", kind, name, err)
	}
	return version, nil
}

// DeleteDocument implements ca.Documents.
func (s *Store) DeleteDocument(ctx context.Context, kind, name string, old ca.Version) error {
	if _, err := s.swap(ctx, old, removeDocument, []any{kind, name, int64(min(old, math.MaxInt64))}); err != nil {
		return fmt.Errorf("deleting document %s %s: %w", kind, name, err)
	}
	return nil
}

// swap runs a statement that returns the new version of the one row that it
// changed, or no row when the version was not old.
func (s *Store) swap(ctx context.Context, old ca.Version, query string, args []any) (ca.Version, error) {
	var version int64
	err := s.exclusive(ctx, func(c *conn) error {
		rows, err := c.query(query, args...)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return ca.Refuse(ca.ReasonStale, "the stored version is not %d", old)
		}
		version, _ = rows[0][0].(int64)
		return nil
	})
	return ca.Version(version), err
}
