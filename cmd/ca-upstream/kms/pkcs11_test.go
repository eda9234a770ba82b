package kms_test

import (
	"crypto"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/api/upstream/upstreamtest"
	"github.com/kedge-ca/kedge/ca"
	keysupstream "github.com/kedge-ca/kedge/ca/keystore/upstream"
	"github.com/kedge-ca/kedge/cmd/ca-upstream/kms"
	"github.com/kedge-ca/kedge/fips"
)

// softHSM is the PKCS#11 module that Debian's package softhsm2 installs.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

const pin = "246813"

// newToken makes an empty token and returns its URI.
func newToken(t *testing.T) string {
	t.Helper()
	label := fmt.Sprintf("t%d", time.Now().UnixNano())
	out, err := exec.CommandContext(t.Context(), "softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "13572468").CombinedOutput()
	require.NoError(t, err, "%s", out)
	pinFile := filepath.Join(t.TempDir(), "pin")
	require.NoError(t, os.WriteFile(pinFile, []byte(pin), 0o600))
	return fmt.Sprintf("pkcs11:module-path=%s;token=%s?pin-source=%s", softHSM, label, pinFile)
}

// requireSoftHSM points the library at a directory of the test, which it reads
// when it is initialised: whenever no token is open.
func requireSoftHSM(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(softHSM); err != nil {
		t.Skipf("SoftHSM2 is missing (%s; Debian: apt-get install softhsm2)", softHSM)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	require.NoError(t, os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600))
	t.Setenv("SOFTHSM2_CONF", conf)
}

func openToken(t *testing.T, uri string) *kms.Manager {
	t.Helper()
	m, err := kms.Open(t.Context(), kms.Config{URI: uri, Policy: upstreamtest.Policy(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

const rootURI = "pkcs11:id=7230;object=root"

// tokenRoot makes a root key in a new token.
func tokenRoot(t *testing.T, keyType fips.KeyType) (*kms.Manager, *kms.Root) {
	t.Helper()
	m := openToken(t, newToken(t))
	require.NoError(t, m.CreateRootKey(t.Context(), rootURI, keyType))
	signer, err := m.Signer(rootURI, nil)
	require.NoError(t, err)
	root, err := m.Root(rootURI, upstreamtest.NewRootWith(t, signer, time.Now()).Certificate)
	require.NoError(t, err)
	return m, root
}

func TestPKCS11RootConforms(t *testing.T) {
	requireSoftHSM(t)
	for _, keyType := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(keyType), func(t *testing.T) {
			_, root := tokenRoot(t, keyType)
			conformRoot(t, root)
		})
	}
}

func TestPKCS11KeysConform(t *testing.T) {
	requireSoftHSM(t)
	for _, keyType := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(keyType), func(t *testing.T) {
			tokens := map[string]string{}
			conformKeys(t, true, func(t *testing.T) ca.KeyStore {
				if tokens[t.Name()] == "" {
					tokens[t.Name()] = newToken(t)
				}
				keys, err := openToken(t, tokens[t.Name()]).Keys("pkcs11:id={id};object={name}", keyType)
				require.NoError(t, err)
				return keys
			})
		})
	}
}

func TestRootKeyIsMadeOnce(t *testing.T) {
	requireSoftHSM(t)
	m, _ := tokenRoot(t, fips.ECDSAP256)
	require.ErrorIs(t, m.CreateRootKey(t.Context(), rootURI, fips.ECDSAP256), os.ErrExist)
}

// TestTheRootsKeySignsNoDigest: keys are named so that the root's is one of them.
func TestTheRootsKeySignsNoDigest(t *testing.T) {
	requireSoftHSM(t)
	m := openToken(t, newToken(t))
	keys, err := m.Keys("pkcs11:id={id};object={name}", fips.ECDSAP256)
	require.NoError(t, err)
	key, err := keys.Create(t.Context(), "root")
	require.NoError(t, err)
	client := upstreamtest.Serve(t, upstream.Config{Keys: keys, RootKeys: []crypto.PublicKey{key.Public()}})
	store, err := keysupstream.New(keysupstream.Config{Client: client, Policy: upstreamtest.Policy(t)})
	require.NoError(t, err)
	_, err = store.Open(t.Context(), "root")
	require.ErrorContains(t, err, "that of the root")
	require.ErrorContains(t, store.Destroy(t.Context(), "root"), "that of the root")
	_, err = keys.Open(t.Context(), "root")
	require.NoError(t, err, "it is still there")
}

func TestSecretsInURIsAreRefused(t *testing.T) {
	for _, uri := range []string{
		"pkcs11:token=x?pin-value=1234", "pkcs11:token=x?PIN-VALUE=1234",
		"azurekms:vault=v;client-secret=s", "softkms:path=x;password=y",
	} {
		_, err := kms.Open(t.Context(), kms.Config{URI: uri, Policy: upstreamtest.Policy(t)})
		require.ErrorContains(t, err, "carries a secret", uri)
		require.NotContains(t, err.Error(), "1234")
	}
}

func TestKeysThatCannotWorkAreRefused(t *testing.T) {
	requireSoftHSM(t)
	m := openToken(t, newToken(t))
	for form, want := range map[string]string{
		"pkcs11:object=x":                    "need {name}",
		"pkcs11:object={name}":               "need id={id}",
		"softkms:/x/{name}.key":              "not of the service pkcs11",
		"pkcs11:id={id};object={name}{name}": "need {name}",
	} {
		_, err := m.Keys(form, fips.ECDSAP256)
		require.ErrorContains(t, err, want, form)
	}
	_, err := m.Keys("pkcs11:id={id};object={name}", fips.RSA2048)
	require.ErrorContains(t, err, "no CA has keys of type")
}

// TestAServiceThatCannotDestroyHoldsRootsOnly stands for the key services of the
// clouds, whose clients offer no deletion. AWS's needs no network to be opened.
func TestAServiceThatCannotDestroyHoldsRootsOnly(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	m := openToken(t, "awskms:region=eu-central-1")
	_, err := m.Keys("awskms:key-id={name}", fips.ECDSAP256)
	require.ErrorContains(t, err, "cannot destroy keys")
}

func TestNamesAreOnlyNames(t *testing.T) {
	keys, err := openSoft(t).Keys("softkms:"+t.TempDir()+"/keys/{name}.key", fips.ECDSAP256)
	require.NoError(t, err)
	for _, name := range []string{"", "../root", "a/b", "a;object=root", "A", "a b", "a\x00"} {
		_, err := keys.Create(t.Context(), name)
		require.Error(t, err, "%q", name)
		_, err = keys.Open(t.Context(), name)
		require.Error(t, err, "%q", name)
		require.Error(t, keys.Destroy(t.Context(), name), "%q", name)
	}
}
