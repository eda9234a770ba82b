package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

const (
	joinTokenPrefix = "kedge-join-"
	joinTokenSize   = 32 // bytes of randomness
)

// NewJoinToken makes a join token and the SHA-256 of it, which is all that may
// be stored. The token is shown once.
func NewJoinToken() (token string, hash [32]byte, err error) {
	var secret [joinTokenSize]byte
	if err := fips.Random(secret[:]); err != nil {
		return "", hash, err
	}
	token = joinTokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	return token, sha256.Sum256([]byte(token)), nil
}

func isJoinToken(token string) bool { return strings.HasPrefix(token, joinTokenPrefix) }

// hashJoinToken accepts exactly what NewJoinToken can make.
func hashJoinToken(token string) ([32]byte, error) {
	encoded := strings.TrimPrefix(token, joinTokenPrefix)
	if len(encoded) != base64.RawURLEncoding.EncodedLen(joinTokenSize) {
		return [32]byte{}, ca.Refuse(ca.ReasonTokenMalformed, "join token of %d bytes", len(token))
	}
	if _, err := decodeSegment([]byte(encoded)); err != nil {
		return [32]byte{}, ca.Refuse(ca.ReasonTokenMalformed, "join token: %w", err)
	}
	return sha256.Sum256([]byte(token)), nil
}

// authenticateJoinToken spends a join token. Its guesser faces 256 random bits;
// finding the hash in an index leaks nothing of use.
func (a *Authenticator) authenticateJoinToken(ctx context.Context, c Credentials) (ca.Caller, error) {
	if a.joinTokens == nil {
		return ca.Caller{}, ca.Refuse(ca.ReasonTokenIssuer, "join tokens are switched off")
	}
	hash, err := hashJoinToken(c.Token)
	if err != nil {
		return ca.Caller{}, err
	}
	spent, err := a.joinTokens.UseJoinToken(ctx, hash, a.now())
	if err != nil {
		var refusal *ca.Error
		if errors.As(err, &refusal) {
			return ca.Caller{}, err
		}
		// Down or too slow, and perhaps spent all the same; the caller may retry.
		return ca.Caller{}, ca.Refuse(ca.ReasonNotReady, "using join token: %w", err)
	}
	if !spent.Identity.MemberOf(a.domain) {
		return ca.Caller{}, ca.Refuse(ca.ReasonTokenSubject, "join token of %q", spent.Identity)
	}
	return a.newCaller(spent.Identity, ca.Evidence{Method: ca.MethodJoinToken, Issuer: spent.CreatedBy}, c)
}

// GiveBack makes a join token good again that authenticated caller, for whom no
// certificate was made and none will be. It does nothing for a caller who proved
// itself in another way. A crash before it leaves the token spent.
func (a *Authenticator) GiveBack(ctx context.Context, caller ca.Caller) error {
	evidence := caller.Evidence()
	if evidence.Method != ca.MethodJoinToken || a.joinTokens == nil {
		return nil
	}
	hash, err := hex.DecodeString(evidence.TokenHash)
	if err != nil || len(hash) != sha256.Size {
		return errors.New("giving a join token back: the evidence has no hash of it")
	}
	return a.joinTokens.ReturnJoinToken(ctx, [sha256.Size]byte(hash))
}
