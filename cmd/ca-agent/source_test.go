package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/ca"
)

func TestAFirstCertificateComesByOneInFiles(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	issuer, err := client.New(client.Config{Server: s.Address, Bundle: s.CA.Bundle.PEM(), Token: s.Token(t, "a")})
	require.NoError(t, err)
	old, err := issuer.Issue(t.Context())
	require.NoError(t, err)
	key, err := old.KeyPEM()
	require.NoError(t, err)
	dir := t.TempDir()
	files := certificateConfig{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	require.NoError(t, os.WriteFile(files.Cert, old.ChainPEM(), 0o600))
	require.NoError(t, os.WriteFile(files.Key, key, 0o600))

	c, err := client.New(client.Config{Server: s.Address, Bundle: s.CA.Bundle.PEM()})
	require.NoError(t, err)
	fresh, err := byCertificate{Client: c, files: files, now: time.Now}.Issue(t.Context())
	require.NoError(t, err)
	require.Equal(t, s.Identity("a"), fresh.Identity)
	require.NotEqual(t, old.Serial, fresh.Serial)
	records := s.CA.Recorder.Records()
	require.Equal(t, ca.MethodCertificate, records[len(records)-1].Evidence.Method)

	late := func() time.Time { return time.Now().Add(1000 * time.Hour) }
	_, err = byCertificate{Client: c, files: files, now: late}.Issue(t.Context())
	require.ErrorContains(t, err, "put a fresh certificate there")
	files.Key = files.Cert
	_, err = byCertificate{Client: c, files: files, now: time.Now}.Issue(t.Context())
	require.ErrorContains(t, err, "reading")
}
