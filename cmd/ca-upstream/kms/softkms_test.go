package kms_test

import (
	"crypto/x509"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/ca/keystore/keystoretest"
	keysupstream "github.com/kedge-ca/kedge/ca/keystore/upstream"
	"github.com/kedge-ca/kedge/ca/root/roottest"
	rootupstream "github.com/kedge-ca/kedge/ca/root/upstream"
	"github.com/kedge-ca/kedge/cmd/ca-upstream/kms"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

const passphrase = "correct horse battery staple"

// conformRoot holds a root, seen through a server, to the contract.
func conformRoot(t *testing.T, root ca.Root) {
	t.Helper()
	client := upstreamtest.Serve(t, upstream.Config{Root: root})
	over, err := rootupstream.New(rootupstream.Config{Client: client, Policy: upstreamtest.Policy(t)})
	require.NoError(t, err)
	roottest.Run(t, roottest.Subject{Root: over, TrustDomain: upstreamtest.Domain(t), Now: time.Now(), Policy: upstreamtest.Policy(t)})
}

// conformKeys holds keys, seen through a server, to the contract. With durable,
// open gives the same keys again within a test.
func conformKeys(t *testing.T, durable bool, open func(t *testing.T) ca.KeyStore) {
	t.Helper()
	keystoretest.Run(t, keystoretest.Subject{Durable: durable, Open: func(t *testing.T) ca.KeyStore {
		client := upstreamtest.Serve(t, upstream.Config{Keys: open(t)})
		over, err := keysupstream.New(keysupstream.Config{Client: client, Policy: upstreamtest.Policy(t)})
		require.NoError(t, err)
		return over
	}})
}

func openSoft(t *testing.T) *kms.Manager {
	t.Helper()
	m, err := kms.Open(t.Context(), kms.Config{URI: "softkms:", Password: []byte(passphrase), Policy: upstreamtest.Policy(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// writeRoot makes a sealed root key and its certificate.
func writeRoot(t *testing.T, keyType fips.KeyType) (uri string, anchor *x509.Certificate) {
	t.Helper()
	key, err := fips.GenerateKey(keyType)
	require.NoError(t, err)
	sealer, err := file.NewPassphraseSealer([]byte(passphrase))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "root.key")
	require.NoError(t, file.WriteKey(t.Context(), file.KeyFile{Path: path, Name: "root", Sealer: sealer}, key))
	return "softkms:" + path, upstreamtest.NewRootWith(t, key, time.Now()).Certificate
}

func TestSoftwareRootConforms(t *testing.T) {
	for _, keyType := range []fips.KeyType{fips.ECDSAP256, fips.RSA3072} {
		t.Run(string(keyType), func(t *testing.T) {
			root, err := openSoft(t).Root(writeRoot(t, keyType))
			require.NoError(t, err)
			conformRoot(t, root)
		})
	}
}

func TestSoftwareKeysConform(t *testing.T) {
	dirs := map[string]string{} // one for each test, the same when it opens again
	conformKeys(t, true, func(t *testing.T) ca.KeyStore {
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = t.TempDir()
		}
		keys, err := openSoft(t).Keys("softkms:"+dirs[t.Name()]+"/keys/{name}.key", fips.ECDSAP256)
		require.NoError(t, err)
		return keys
	})
}

func TestRootKeyOfAnotherCertificateIsRefused(t *testing.T) {
	uri, _ := writeRoot(t, fips.ECDSAP256)
	_, other := writeRoot(t, fips.ECDSAP256)
	_, err := openSoft(t).Root(uri, other)
	require.ErrorContains(t, err, "is not that of the certificate")
}
