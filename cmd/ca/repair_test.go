package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/root/local"
	"github.com/kedge-ca/kedge/fips"
)

func TestEverythingExpiredIsRepairedOverTheLocalSocket(t *testing.T) {
	bin := filepath.Join(buildCA(t), "ca")
	s := makeSite(t, at(time.Now().AddDate(-11, 0, 0)))
	serveSite(t, bin, s)

	out, code := s.command(t, bin, "check")
	require.Equal(t, exitFail, code, out)
	require.Contains(t, out, "√ server-running")
	require.Contains(t, out, "× ready")
	require.Contains(t, out, "× anchor-life")

	out, code = s.command(t, bin, "repair", "--dry-run")
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "a new root is made")
	require.Contains(t, out, "nothing was changed")
	out, code = s.command(t, bin, "repair")
	require.Equal(t, exitFail, code, out)
	require.Contains(t, out, "--yes")
	out, code = s.command(t, bin, "repair", "--yes")
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "published "+describeAnchor(s.anchor(t)))

	out, _ = s.command(t, bin, "check")
	require.Contains(t, out, "√ ready")
	require.NotContains(t, out, "×")
	s.issues(t, bin)
}

// A crash, a full disk or a lost race may come between the new root and its
// bundle; the bundle in force is still that of the expired root.
func TestRepairThatWasCutOffGoesOn(t *testing.T) {
	bin := filepath.Join(buildCA(t), "ca")
	a := at(time.Now().AddDate(-11, 0, 0))
	s := makeSite(t, a)
	policy, err := fips.PolicyByName(s.config.FIPS.Profile)
	require.NoError(t, err)
	root, err := a.openRoot(s.config.Root, policy, nil)
	require.NoError(t, err)
	expired, err := root.Anchor(t.Context())
	require.NoError(t, err)
	domain, err := s.config.domain()
	require.NoError(t, err)
	sealer, err := a.sealer(s.config.Root.Passphrase)
	require.NoError(t, err)
	_, err = local.Renew(t.Context(), local.InitConfig{
		Dir: s.config.Root.Dir, Sealer: sealer, TrustDomain: domain,
		KeyType: fips.KeyType(s.config.Keys.Type), Policy: policy, Now: time.Now(),
	}, expired)
	require.NoError(t, err)

	serveSite(t, bin, s)
	out, code := s.command(t, bin, "repair", "--dry-run")
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "would publish the root that is there, "+describeAnchor(s.anchor(t)))
	require.NotEqual(t, expired.Raw, s.anchor(t).Raw)
	out, code = s.command(t, bin, "repair", "--yes")
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "published "+describeAnchor(s.anchor(t)))
	s.issues(t, bin)
}

// anchor is the certificate in the root's directory.
func (s site) anchor(t *testing.T) *x509.Certificate {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.config.Root.Dir, "root.pem"))
	require.NoError(t, err)
	block, _ := pem.Decode(raw)
	require.NotNil(t, block)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return cert
}

// Operators who are in a hurry type it twice.
func TestRepairsAtOnceMakeOneRoot(t *testing.T) {
	bin := filepath.Join(buildCA(t), "ca")
	s := makeSite(t, at(time.Now().AddDate(-11, 0, 0)))
	serveSite(t, bin, s)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { _ = s.exec(bin, "repair", "--yes").Run() }) // one that comes late may be refused
	}
	all.Wait()
	out, code := s.command(t, bin, "repair", "--dry-run")
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "active anchor lives until")
	out, _ = s.command(t, bin, "audit", "events", "-o", "json")
	require.Equal(t, 1, strings.Count(out, "the active anchor had expired"), out)
	s.issues(t, bin)
}
