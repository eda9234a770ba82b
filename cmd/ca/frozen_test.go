package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/vault/vaulttest"
)

// TestAStartDoesNotWaitForAFrozenVault: probes and the operator get in while the
// server that opens the keys answers nothing, and issuing begins when it does.
func TestAStartDoesNotWaitForAFrozenVault(t *testing.T) {
	v := vaulttest.Start(t)
	s := rootSite(t, v)
	bin := filepath.Join(buildCA(t), "ca")
	v.Pause()
	serveSite(t, bin, s) // gives up long before the timeouts of requests to Vault
	v.Resume()
	require.Eventually(t, func() bool {
		_, code := s.command(t, bin, "intermediate", "renew")
		return code == 0
	}, time.Minute, time.Second)
}

// TestAnOutageSpendsNoJoinToken: with keys in Vault an outage of it stops issuance,
// and the machine that was turned away comes again with the same token.
func TestAnOutageSpendsNoJoinToken(t *testing.T) {
	v := vaulttest.Start(t)
	s := rootSiteAt(t, v, time.Now(), func(c *config) {
		c.Keys = keysConfig{Type: c.Keys.Type, Store: keysVaultTransit, Mount: "transit", Prefix: "kedge-"}
	})
	bin := filepath.Join(buildCA(t), "ca")
	serveSite(t, bin, s)
	token := s.joinToken(t, bin)
	v.Seal()
	for range 2 {
		out, code := s.issue(t, bin, token)
		require.Equal(t, exitFail, code, out)
		require.Contains(t, out, "code: signing_failed")
	}
	v.Unseal()
	out, code := s.issue(t, bin, token)
	require.Equal(t, exitOK, code, out)
	out, code = s.issue(t, bin, token)
	require.NotEqual(t, exitOK, code)
	require.Contains(t, out, "code: token_used")
}
