package authn_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// joinTokens is a store of join tokens in memory that keeps the contract.
type joinTokens struct {
	mu     sync.Mutex
	tokens map[[32]byte]ca.JoinToken
	used   map[[32]byte]bool
	down   error
}

func (j *joinTokens) create(t testing.TB, id string, expires time.Time) string {
	t.Helper()
	token, hash, err := authn.NewJoinToken()
	require.NoError(t, err)
	identity, err := ca.ParseIdentity(id)
	require.NoError(t, err)
	if j.tokens == nil {
		j.tokens, j.used = make(map[[32]byte]ca.JoinToken), make(map[[32]byte]bool)
	}
	j.tokens[hash] = ca.JoinToken{Hash: hash, Identity: identity, ExpiresAt: expires, CreatedBy: "uid:0"}
	return token
}

func (j *joinTokens) UseJoinToken(_ context.Context, hash [32]byte, now time.Time) (ca.JoinToken, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	token, ok := j.tokens[hash]
	switch {
	case j.down != nil:
		return ca.JoinToken{}, j.down
	case !ok:
		return ca.JoinToken{}, ca.Refuse(ca.ReasonTokenKeyUnknown, "no such token")
	case j.used[hash]:
		return ca.JoinToken{}, ca.Refuse(ca.ReasonTokenUsed, "used")
	case !now.Before(token.ExpiresAt):
		return ca.JoinToken{}, ca.Refuse(ca.ReasonTokenExpired, "expired")
	}
	j.used[hash] = true
	return token, nil
}

func (j *joinTokens) ReturnJoinToken(_ context.Context, hash [32]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down != nil {
		return j.down
	}
	delete(j.used, hash)
	return nil
}

const vm = "spiffe://cluster.local/ns/vms/sa/db-1"

func TestJoinTokenIsItsIdentityOnce(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	token := w.join.create(t, vm, w.now.Add(time.Hour))
	caller, err := w.authenticate(token, "")
	require.NoError(t, err)
	identity, err := ca.ParseIdentity(vm)
	require.NoError(t, err)
	hash := sha256.Sum256([]byte(token))
	want, err := ca.NewCaller(identity, ca.Evidence{
		Method: ca.MethodJoinToken, Issuer: "uid:0", TokenHash: hex.EncodeToString(hash[:]), Peer: "192.0.2.7:443",
	})
	require.NoError(t, err)
	require.Equal(t, want, caller)

	caller, err = w.authenticate(token, "")
	refused(t, ca.ReasonTokenUsed, caller, err)
}

func TestJoinTokenRefusals(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	good := w.join.create(t, vm, w.now.Add(time.Hour))
	foreign := w.join.create(t, "spiffe://other.example/ns/vms/sa/db-1", w.now.Add(time.Hour))
	expired := w.join.create(t, vm, w.now)
	unknown, _, err := authn.NewJoinToken()
	require.NoError(t, err)
	for _, row := range []struct {
		name, token string
		reason      ca.Reason
	}{
		{"only the prefix", "kedge-join-", ca.ReasonTokenMalformed},
		{"a byte short", good[:len(good)-1], ca.ReasonTokenMalformed},
		{"a byte long", good + "A", ca.ReasonTokenMalformed},
		{"not base64url", good[:len(good)-1] + "!", ca.ReasonTokenMalformed},
		{"another spelling of the last bits", good[:len(good)-1] + "_", ca.ReasonTokenMalformed},
		{"a megabyte", "kedge-join-" + strings.Repeat("A", 1<<20), ca.ReasonTokenMalformed},
		{"prefix in another case", strings.ToUpper(good), ca.ReasonTokenMalformed},
		{"unknown", unknown, ca.ReasonTokenKeyUnknown},
		{"expired", expired, ca.ReasonTokenExpired},
		{"of another trust domain", foreign, ca.ReasonTokenSubject},
	} {
		t.Run(row.name, func(t *testing.T) {
			caller, err := w.authenticate(row.token, "")
			refused(t, row.reason, caller, err)
		})
	}
	_, err = w.authenticate(good, "")
	require.NoError(t, err, "no refusal above spent it")
}

func TestJoinTokensAreOffUnlessConfigured(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	token := w.join.create(t, vm, w.now.Add(time.Hour))
	w.auth = newAuthenticator(t, authn.Config{TrustDomain: domain(t), Now: w.clock.Now})
	caller, err := w.authenticate(token, "")
	refused(t, ca.ReasonTokenIssuer, caller, err)
}

func TestOutageOfTheTokenStoreIsNotTheCallersFault(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	token := w.join.create(t, vm, w.now.Add(time.Hour))
	w.join.down = errors.New("disk full")
	caller, err := w.authenticate(token, "")
	refused(t, ca.ReasonNotReady, caller, err)
	require.Equal(t, ca.Unavailable, ca.ReasonOf(err).Class())
}

func TestOfManyUsersOfAJoinTokenOneWins(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	token := w.join.create(t, vm, w.now.Add(time.Hour))
	errs := make([]error, 32)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { _, errs[i] = w.authenticate(token, "") })
	}
	group.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		require.Equal(t, ca.ReasonTokenUsed, ca.ReasonOf(err))
	}
	require.Equal(t, 1, won)
}

func TestAJoinTokenThatIsGivenBackIsGoodOnceMore(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	token := w.join.create(t, vm, w.now.Add(time.Hour))
	caller, err := w.authenticate(token, "")
	require.NoError(t, err)
	require.NoError(t, w.auth.GiveBack(t.Context(), caller))
	again, err := w.authenticate(token, "")
	require.NoError(t, err)
	require.Equal(t, caller, again)
	_, err = w.authenticate(token, "")
	require.Equal(t, ca.ReasonTokenUsed, ca.ReasonOf(err))

	w.join.down = errors.New("disk full")
	require.ErrorIs(t, w.auth.GiveBack(t.Context(), caller), w.join.down)
}

func TestOnlyAJoinTokenIsGivenBack(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	w.join.down = errors.New("asked")
	identity, err := ca.ParseIdentity(vm)
	require.NoError(t, err)
	for name, row := range map[string]struct {
		evidence ca.Evidence
		want     string
	}{
		"a certificate":       {ca.Evidence{Method: ca.MethodCertificate, TokenHash: strings.Repeat("0", 64)}, ""},
		"another token":       {ca.Evidence{Method: ca.MethodKubernetes, TokenHash: strings.Repeat("0", 64)}, ""},
		"a hash cut short":    {ca.Evidence{Method: ca.MethodJoinToken, TokenHash: "00"}, "no hash"},
		"a hash that is long": {ca.Evidence{Method: ca.MethodJoinToken, TokenHash: strings.Repeat("0", 66)}, "no hash"},
		"no hash":             {ca.Evidence{Method: ca.MethodJoinToken}, "no hash"},
	} {
		caller, err := ca.NewCaller(identity, row.evidence)
		require.NoError(t, err)
		err = w.auth.GiveBack(t.Context(), caller)
		if row.want == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, row.want, name)
		}
	}
}
