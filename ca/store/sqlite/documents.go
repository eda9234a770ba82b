package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/kedge-ca/kedge/ca"
)

// Document implements ca.Documents.
func (s *Store) Document(ctx context.Context, kind, name string) (ca.Document, error) {
	d := ca.Document{Name: name}
	err := s.reads.QueryRowContext(ctx,
		"SELECT version, body FROM documents WHERE kind = ? AND name = ? AND body IS NOT NULL", kind, name).Scan(&d.Version, &d.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return d, nil
	}
	if err != nil {
		return ca.Document{}, fmt.Errorf("reading document %s %s: %w", kind, name, err)
	}
	return d, nil
}

// Documents implements ca.Documents.
func (s *Store) Documents(ctx context.Context, kind, after string, limit int) (all []ca.Document, err error) {
	if limit <= 0 || limit > ca.MaxDocuments {
		limit = ca.MaxDocuments
	}
	rows, err := s.reads.QueryContext(ctx, `SELECT name, version, body FROM documents
		WHERE kind = ? AND name > ? AND body IS NOT NULL ORDER BY name LIMIT ?`, kind, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing documents of kind %s: %w", kind, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var d ca.Document
		if err := rows.Scan(&d.Name, &d.Version, &d.Body); err != nil {
			return nil, fmt.Errorf("listing documents of kind %s: %w", kind, err)
		}
		all = append(all, d)
	}
	return all, rows.Err()
}

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
