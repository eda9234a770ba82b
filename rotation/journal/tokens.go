package journal

import (
	"context"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// Token is a join token: leave for one replica to join a zone. Its secret is kept
// nowhere, only the hash.
type Token struct {
	Zone    rotation.Zone `json:"zone"`
	Actor   string        `json:"actor"` // who made it
	Expires time.Time     `json:"expires"`
	UsedBy  string        `json:"used_by,omitempty"` // the key of the replica that has joined with it
	UsedAt  time.Time     `json:"used_at,omitzero"`
}

// Tokens are the join tokens of zones, by the hash of their secret in lower-case hex.
type Tokens struct{ tokens kind[Token] }

// NewTokens is the tokens in docs.
func NewTokens(docs ca.Documents) *Tokens { return &Tokens{kind[Token]{docs, "zone_token"}} }

// Add stores a new token.
func (t *Tokens) Add(ctx context.Context, hash string, token Token) error {
	_, err := t.tokens.put(ctx, hash, 0, token)
	return err
}

// Spend uses a token for the replica of a key; the same replica may use it again, when
// it did not hear the answer. Refusals are *ca.Errors with ReasonZoneToken,
// ReasonZoneTokenExpired and ReasonZoneTokenUsed.
func (t *Tokens) Spend(ctx context.Context, hash, key string, now time.Time) (Token, error) {
	return t.tokens.change(ctx, hash, func(was Token, exists bool) (Token, error) {
		switch {
		case !exists:
			return was, ca.Refuse(ca.ReasonZoneToken, "there is no such join token")
		case was.UsedBy != "" && was.UsedBy != key:
			return was, ca.Refuse(ca.ReasonZoneTokenUsed, "the join token of zone %s was used at %s by the replica with key %s", was.Zone, was.UsedAt.UTC().Format(time.RFC3339), was.UsedBy)
		case !now.Before(was.Expires):
			return was, ca.Refuse(ca.ReasonZoneTokenExpired, "the join token of zone %s ended at %s", was.Zone, was.Expires.UTC().Format(time.RFC3339))
		}
		if was.UsedBy == "" {
			was.UsedBy, was.UsedAt = key, now.UTC()
		}
		return was, nil
	})
}

// Sweep deletes the tokens that ended before a time. Until then whoever comes late
// with one is told so.
func (t *Tokens) Sweep(ctx context.Context, before time.Time) error {
	all, err := t.tokens.after(ctx, "")
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.value.Expires.Before(before) {
			if err := t.tokens.remove(ctx, e.name); err != nil {
				return err
			}
		}
	}
	return nil
}
