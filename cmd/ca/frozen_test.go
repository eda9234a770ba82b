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
