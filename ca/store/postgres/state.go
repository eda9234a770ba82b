package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kedge-ca/kedge/ca"
)

// Everything in this file is one statement, which is a transaction of its own: it
// has one round trip and no half way.

// maxState bounds a stored state: some hundred certificates.
const maxState = 4 << 20

// Replace implements ca.StateStore.
func (s *Store) Replace(ctx context.Context, old ca.Version, next ca.State) (ca.Version, error) {
	body, err := json.Marshal(next)
	if err != nil {
		return 0, fmt.Errorf("encoding state: %w", err)
	}
	if len(body) > maxState {
		return 0, fmt.Errorf("state of %d bytes, at most %d are kept", len(body), maxState)
	}
	query := "UPDATE replica_states SET version = version + 1, body = $2 WHERE replica = $1 AND version = $3 RETURNING version"
	args := []any{s.replica, string(body), int64(min(old, math.MaxInt64))}
	if old == 0 {
		query, args = "INSERT INTO replica_states (replica, version, body) VALUES ($1, 1, $2) ON CONFLICT DO NOTHING RETURNING version", args[:2]
	}
	version, err := s.swap(ctx, old, query, args...)
	if err != nil {
		return 0, fmt.Errorf("replacing state: %w", err)
	}
	return version, nil
}

// The statements that change documents. A row without a body stands for a document
// that was deleted and gives the next one of its name a version.
const (
	addDocument = `INSERT INTO documents (kind, name, version, body) VALUES ($1, $2, 1, $3)
		ON CONFLICT (kind, name) DO UPDATE SET version = documents.version + 1, body = excluded.body WHERE documents.body IS NULL
		RETURNING version`
	swapDocument = `UPDATE documents SET version = version + 1, body = $3
		WHERE kind = $1 AND name = $2 AND version = $4 AND body IS NOT NULL RETURNING version`
	removeDocument = `UPDATE documents SET version = version + 1, body = NULL
		WHERE kind = $1 AND name = $2 AND version = $3 AND body IS NOT NULL RETURNING version`
)

// PutDocument implements ca.Documents.
func (s *Store) PutDocument(ctx context.Context, kind, name string, old ca.Version, body []byte) (ca.Version, error) {
	if err := ca.CheckDocument(kind, name, body); err != nil {
		return 0, fmt.Errorf("storing document: %w", err)
	}
	query, args := swapDocument, []any{kind, name, body, int64(min(old, math.MaxInt64))}
	if old == 0 {
		query, args = addDocument, args[:3]
	}
	version, err := s.swap(ctx, old, query, args...)
	if err != nil {
		return 0, fmt.Errorf("storing document %s %s: %w", kind, name, err)
	}
	return version, nil
}

// DeleteDocument implements ca.Documents.
func (s *Store) DeleteDocument(ctx context.Context, kind, name string, old ca.Version) error {
	if _, err := s.swap(ctx, old, removeDocument, kind, name, int64(min(old, math.MaxInt64))); err != nil {
		return fmt.Errorf("deleting document %s %s: %w", kind, name, err)
	}
	return nil
}

// swap runs a statement that returns the new version of the one row that it
// changed, or no row when the version was not old.
func (s *Store) swap(ctx context.Context, old ca.Version, query string, args ...any) (ca.Version, error) {
	if s.writes == nil {
		return 0, errReadOnly()
	}
	var version ca.Version
	err := s.db.QueryRowContext(ctx, query, args...).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ca.Refuse(ca.ReasonStale, "the stored version is not %d", old)
	}
	return version, err
}

// CreateJoinToken implements store.JoinTokens.
func (s *Store) CreateJoinToken(ctx context.Context, t ca.JoinToken) error {
	if s.writes == nil {
		return errReadOnly()
	}
	if t.Identity.IsZero() || t.ExpiresAt.IsZero() || t.CreatedBy == "" {
		return errors.New("creating join token: it needs an identity, an end and its creator")
	}
	if !utf8.ValidString(t.CreatedBy) || strings.ContainsRune(t.CreatedBy, 0) {
		return fmt.Errorf("creating join token: its creator %q is not a text", t.CreatedBy)
	}
	result, err := s.db.ExecContext(ctx, "INSERT INTO join_tokens (hash, identity, expires_at, created_by) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
		t.Hash[:], t.Identity.String(), t.ExpiresAt.UnixMicro(), t.CreatedBy)
	if err == nil {
		var added int64
		if added, err = result.RowsAffected(); err == nil && added == 0 {
			err = ca.Refuse(ca.ReasonStale, "it exists already")
		}
	}
	if err != nil {
		return fmt.Errorf("creating join token: %w", err)
	}
	return nil
}

// UseJoinToken implements store.JoinTokens.
func (s *Store) UseJoinToken(ctx context.Context, hash [32]byte, now time.Time) (ca.JoinToken, error) {
	if s.writes == nil {
		return ca.JoinToken{}, errReadOnly()
	}
	token := ca.JoinToken{Hash: hash}
	var name string
	var expires int64
	err := s.db.QueryRowContext(ctx, `UPDATE join_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2
		RETURNING identity, expires_at, created_by`, hash[:], now.UnixMicro()).Scan(&name, &expires, &token.CreatedBy)
	if errors.Is(err, sql.ErrNoRows) {
		err = s.whyNot(ctx, hash, now)
	}
	if err == nil {
		token.ExpiresAt = time.UnixMicro(expires).UTC()
		token.Identity, err = ca.ParseIdentity(name)
	}
	if err != nil {
		return ca.JoinToken{}, fmt.Errorf("using join token: %w", err)
	}
	return token, nil
}

// whyNot says why a token could not be used just now.
func (s *Store) whyNot(ctx context.Context, hash [32]byte, now time.Time) error {
	var expires int64
	var used sql.NullInt64
	err := s.db.QueryRowContext(ctx, "SELECT expires_at, used_at FROM join_tokens WHERE hash = $1", hash[:]).Scan(&expires, &used)
	end := time.UnixMicro(expires).UTC()
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ca.Refuse(ca.ReasonTokenKeyUnknown, "there is no such join token")
	case err != nil:
		return err
	case used.Valid:
		return ca.Refuse(ca.ReasonTokenUsed, "the join token was used")
	case !now.Before(end):
		return ca.Refuse(ca.ReasonTokenExpired, "the join token ended at %s", end.Format(time.RFC3339))
	}
	return ca.Refuse(ca.ReasonTokenKeyUnknown, "the join token was not there yet")
}

// deletePortion is how many tokens one transaction deletes.
const deletePortion = 1000

// ReturnJoinToken implements store.JoinTokens.
func (s *Store) ReturnJoinToken(ctx context.Context, hash [32]byte) error {
	if s.writes == nil {
		return errReadOnly()
	}
	if _, err := s.db.ExecContext(ctx, "UPDATE join_tokens SET used_at = NULL WHERE hash = $1", hash[:]); err != nil {
		return fmt.Errorf("returning join token: %w", err)
	}
	return nil
}

// DeleteJoinTokens implements store.JoinTokens.
func (s *Store) DeleteJoinTokens(ctx context.Context, expiredBefore time.Time) (int, error) {
	if s.writes == nil {
		return 0, errReadOnly()
	}
	deleted := 0
	for {
		result, err := s.db.ExecContext(ctx, "DELETE FROM join_tokens WHERE hash IN (SELECT hash FROM join_tokens WHERE expires_at < $1 LIMIT $2)",
			expiredBefore.UnixMicro(), deletePortion)
		var n int64
		if err == nil {
			n, err = result.RowsAffected()
		}
		if err != nil {
			return deleted, fmt.Errorf("deleting join tokens: %w", err)
		}
		if deleted += int(n); n < deletePortion {
			return deleted, nil
		}
	}
}

func errReadOnly() error {
	return ca.Refuse(ca.ReasonNotReady, "the store is open read-only")
}
