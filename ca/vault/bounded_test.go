package vault_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/vault"
)

// TestEachRequestIsOverWithinItsTime sends many requests at once to a server that
// hangs, without a session: each has to be told within the time of one login and
// one request, not after everybody else's.
func TestEachRequestIsOverWithinItsTime(t *testing.T) {
	p := newPKI(t)
	block := make(chan struct{})
	t.Cleanup(func() { close(block) })
	s := p.serve(p.issue(nil), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-block:
		case <-r.Context().Done():
		}
	}))
	const limit = time.Second
	c, err := vault.New(vault.Config{
		Address: s.URL, CAFile: p.file(), Now: time.Now, Timeout: limit,
		Login: vault.Login{Type: vault.LoginToken, TokenFile: write(t, "token", fakeToken)},
	})
	require.NoError(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var longest time.Duration
	for range 8 {
		wg.Go(func() {
			begin := time.Now()
			// A signature has no context of its own, see ca/keystore/vault.Key.Sign.
			_, err := c.Do(context.Background(), vault.Request{Operation: "sign", Method: http.MethodPost, Path: "transit/sign/k"})
			took := time.Since(begin)
			mu.Lock()
			defer mu.Unlock()
			require.Error(t, err)
			longest = max(longest, took)
		})
	}
	wg.Wait()
	require.Less(t, longest, 3*limit, "the connection's timeout bounds it, says Key.Sign")
}
