package main

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/vault/vaulttest"
)

// TestExpiredRootKeyInTransitIsRepaired: the key is in Vault, and nobody but the
// server can make another certificate for it.
func TestExpiredRootKeyInTransitIsRepaired(t *testing.T) {
	v := vaulttest.Start(t)
	s := rootSiteAt(t, v, time.Now().AddDate(-11, 0, 0))
	bin := filepath.Join(buildCA(t), "ca")
	serveSite(t, bin, s)
	out, code := s.command(t, bin, "repair", "--dry-run")
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "active anchor expired")
	require.Contains(t, out, "a new root is made for the same key")
	out, code = s.command(t, bin, "repair", "--yes")
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "published "+describeAnchor(s.anchor(t)))
	out, code = s.command(t, bin, "bundle", "show", "-o", "json")
	require.Equal(t, exitOK, code, out)
	var bundle struct {
		Anchors []struct {
			Slot     string
			NotAfter time.Time
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &bundle))
	require.Equal(t, "active", bundle.Anchors[0].Slot)
	require.True(t, bundle.Anchors[0].NotAfter.After(time.Now().AddDate(9, 0, 0)))
	kept, err := filepath.Glob(filepath.Join(s.config.Root.Dir, "expired-*-root.pem"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	s.issues(t, bin)
	out, code = s.command(t, bin, "repair", "--yes")
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "nothing to do")
}
