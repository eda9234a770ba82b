package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/schema"
)

// Querier is what asks the database: *sql.DB, and *sql.Tx for one snapshot.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Reader reads a store. It is safe for concurrent use when its Querier is.
type Reader struct {
	db      Querier
	dialect schema.Dialect
	replica string
}

// NewReader makes a Reader for the replica, whose state Load returns.
func NewReader(db Querier, dialect schema.Dialect, replica string) *Reader {
	return &Reader{db: db, dialect: dialect, replica: replica}
}

func (r *Reader) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return r.db.QueryContext(ctx, r.dialect.Bind(query), args...)
}

func (r *Reader) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return r.db.QueryRowContext(ctx, r.dialect.Bind(query), args...)
}

// Load implements the reading half of ca.StateStore.
func (r *Reader) Load(ctx context.Context) (ca.State, ca.Version, error) {
	var state ca.State
	var version ca.Version
	var body []byte
	err := r.queryRow(ctx, "SELECT version, body FROM replica_states WHERE replica = ?", r.replica).Scan(&version, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return state, 0, nil
	}
	if err != nil {
		return state, 0, fmt.Errorf("reading state: %w", err)
	}
	if err := json.Unmarshal(body, &state); err != nil {
		return ca.State{}, 0, fmt.Errorf("stored state is damaged: %w", err)
	}
	return state, version, nil
}

// States are the states of all replicas, by name.
func (r *Reader) States(ctx context.Context) (states map[string]ca.State, err error) {
	rows, err := r.query(ctx, "SELECT replica, body FROM replica_states")
	if err != nil {
		return nil, fmt.Errorf("reading states: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	states = make(map[string]ca.State)
	for rows.Next() {
		var name string
		var body []byte
		if err := rows.Scan(&name, &body); err != nil {
			return nil, fmt.Errorf("reading states: %w", err)
		}
		var state ca.State
		if err := json.Unmarshal(body, &state); err != nil {
			return nil, fmt.Errorf("stored state of replica %q is damaged: %w", name, err)
		}
		states[name] = state
	}
	return states, rows.Err()
}

// Document implements the reading half of ca.Documents.
func (r *Reader) Document(ctx context.Context, kind, name string) (ca.Document, error) {
	if err := ca.CheckDocumentName(kind, name); err != nil {
		return ca.Document{}, fmt.Errorf("reading document: %w", err)
	}
	d := ca.Document{Name: name}
	err := r.queryRow(ctx, "SELECT version, body FROM documents WHERE kind = ? AND name = ? AND body IS NOT NULL", kind, name).
		Scan(&d.Version, &d.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return d, nil
	}
	if err != nil {
		return ca.Document{}, fmt.Errorf("reading document %s %s: %w", kind, name, err)
	}
	return d, nil
}

// Documents implements the reading half of ca.Documents.
func (r *Reader) Documents(ctx context.Context, kind, after string, limit int) (all []ca.Document, err error) {
	if limit <= 0 || limit > ca.MaxDocuments {
		limit = ca.MaxDocuments
	}
	rows, err := r.query(ctx, `SELECT name, version, body FROM documents
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
