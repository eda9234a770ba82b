package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

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
	err = s.exclusive(ctx, func(c *conn) error {
		swap := "UPDATE replica_states SET version = ?, body = ? WHERE replica = '' AND version = ?"
		if old == 0 {
			swap = "INSERT INTO replica_states (replica, version, body) SELECT '', ?, ? WHERE ? = 0 ON CONFLICT DO NOTHING"
		}
		changed, err := c.exec(swap, int64(old)+1, string(body), int64(old))
		if err == nil && changed == 0 {
			return ca.Refuse(ca.ReasonStale, "the stored version is not %d", old)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("replacing state: %w", err)
	}
	return old + 1, nil
}

// CreateJoinToken implements store.JoinTokens.
func (s *Store) CreateJoinToken(ctx context.Context, t ca.JoinToken) error {
	if t.Identity.IsZero() || t.ExpiresAt.IsZero() || t.CreatedBy == "" {
		return fmt.Errorf("creating join token: it needs an identity, an end and its creator")
	}
	err := s.exclusive(ctx, func(c *conn) error {
		added, err := c.exec("INSERT INTO join_tokens (hash, identity, expires_at, created_by) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			t.Hash[:], t.Identity.String(), t.ExpiresAt.UnixMicro(), t.CreatedBy)
		if err == nil && added == 0 {
			return ca.Refuse(ca.ReasonStale, "it exists already")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("creating join token: %w", err)
	}
	return nil
}

// UseJoinToken implements store.JoinTokens.
func (s *Store) UseJoinToken(ctx context.Context, hash [32]byte, now time.Time) (ca.JoinToken, error) {
	var token ca.JoinToken
	err := s.exclusive(ctx, func(c *conn) error {
		rows, err := c.query("SELECT identity, expires_at, created_by, used_at FROM join_tokens WHERE hash = ?", hash[:])
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return ca.Refuse(ca.ReasonTokenKeyUnknown, "there is no such join token")
		}
		if rows[0][3] != nil {
			return ca.Refuse(ca.ReasonTokenUsed, "the join token was used")
		}
		if token, err = decodeToken(hash, rows[0]); err != nil {
			return err
		}
		if !now.Before(token.ExpiresAt) {
			return ca.Refuse(ca.ReasonTokenExpired, "the join token ended at %s", token.ExpiresAt.Format(time.RFC3339))
		}
		_, err = c.exec("UPDATE join_tokens SET used_at = ? WHERE hash = ?", now.UnixMicro(), hash[:])
		return err
	})
	if err != nil {
		return ca.JoinToken{}, fmt.Errorf("using join token: %w", err)
	}
	return token, nil
}

// ReturnJoinToken implements store.JoinTokens.
func (s *Store) ReturnJoinToken(ctx context.Context, hash [32]byte) error {
	err := s.exclusive(ctx, func(c *conn) error {
		_, err := c.exec("UPDATE join_tokens SET used_at = NULL WHERE hash = ?", hash[:])
		return err
	})
	if err != nil {
		return fmt.Errorf("returning join token: %w", err)
	}
	return nil
}

// deletePortion is how many tokens one transaction deletes: records wait for it.
const deletePortion = 1000

// DeleteJoinTokens implements store.JoinTokens.
func (s *Store) DeleteJoinTokens(ctx context.Context, expiredBefore time.Time) (int, error) {
	deleted := 0
	for {
		var n int64
		err := s.exclusive(ctx, func(c *conn) (err error) {
			n, err = c.exec("DELETE FROM join_tokens WHERE hash IN (SELECT hash FROM join_tokens WHERE expires_at < ? LIMIT ?)",
				expiredBefore.UnixMicro(), int64(deletePortion))
			return err
		})
		if err != nil {
			return deleted, fmt.Errorf("deleting join tokens: %w", err)
		}
		if deleted += int(n); n < deletePortion {
			return deleted, nil
		}
	}
}

// exclusive runs do in a transaction of its own.
func (s *Store) exclusive(ctx context.Context, do func(*conn) error) error {
	if s.writes == nil {
		return errReadOnly()
	}
	j := s.writes.newJob()
	j.alone = func(c *conn) error {
		return c.transaction(func() error { return do(c) })
	}
	return s.writes.submit(ctx, j)
}

// decodeToken reads a row of identity, expires_at, created_by.
func decodeToken(hash [32]byte, row []driver.Value) (ca.JoinToken, error) {
	name, isText := row[0].(string)
	expires, isInt := row[1].(int64)
	creator, isAlsoText := row[2].(string)
	if !isText || !isInt || !isAlsoText {
		return ca.JoinToken{}, fmt.Errorf("stored join token is damaged")
	}
	identity, err := ca.ParseIdentity(name)
	if err != nil {
		return ca.JoinToken{}, fmt.Errorf("stored join token is damaged: %w", err)
	}
	return ca.JoinToken{
		Hash: hash, Identity: identity, ExpiresAt: time.UnixMicro(expires).UTC(), CreatedBy: creator,
	}, nil
}
