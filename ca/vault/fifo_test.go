package vault_test

import (
	"context"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/vault"
)

// TestFilesThatNeverEndStopNothing names a FIFO where a file should be: whoever
// waits for its writer waits for ever, and holds the one place of a login.
func TestFilesThatNeverEndStopNothing(t *testing.T) {
	p := newPKI(t)
	s := p.serve(p.issue(nil), answer(http.StatusOK, "application/json", issuer))
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	c, err := vault.New(vault.Config{
		Address: s.URL, CAFile: p.file(), Now: time.Now, Timeout: time.Second,
		Login: vault.Login{Type: vault.LoginJWT, Role: "kedge", TokenFile: fifo},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := c.Do(ctx, vault.Request{Operation: "read_key", Method: http.MethodGet, Path: "transit/keys/k"})
		done <- err
	}()
	select {
	case err := <-done:
		require.ErrorContains(t, err, "not a regular file")
	case <-time.After(5 * time.Second):
		require.Fail(t, "a request hangs beyond its context")
	}
}
