package vault_test

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/ca/keystore/keystoretest"
	transit "github.com/kedge-ca/kedge/ca/keystore/vault"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/ca/vault/vaulttest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

// connect is a connection whose token has exactly rules.
func connect(t *testing.T, s *vaulttest.Server, rules []vault.Rule) *vault.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte(s.PolicyToken(vault.HCL(append(vault.TokenRules(), rules...)))), 0o600))
	c, err := vault.New(vault.Config{
		Address: s.Address, CAFile: s.CAFile, Login: vault.Login{Type: vault.LoginToken, TokenFile: path}, Now: time.Now,
	})
	require.NoError(t, err)
	return c
}

func TestStoreConforms(t *testing.T) {
	server := vaulttest.Start(t)
	server.EnableEngine("transit", "transit")
	for _, kind := range []fips.KeyType{fips.ECDSAP256, fips.ECDSAP384, fips.RSA3072} {
		t.Run(string(kind), func(t *testing.T) {
			keystoretest.Run(t, keystoretest.Subject{Durable: true, Open: func(t *testing.T) ca.KeyStore {
				t.Helper()
				// The suite wants an empty store for each test: one prefix for each.
				c := transit.StoreConfig{
					Client: &vault.Client{}, Mount: "transit", KeyType: kind,
					Prefix: strings.Map(plain, t.Name())[:min(60, len(t.Name()))] + "-",
				}
				rules, err := transit.NewStore(c)
				require.NoError(t, err)
				// The suite's names are not those of a custodian.
				wide := rules.Rules()
				for i := range wide {
					wide[i].Path = strings.Replace(wide[i].Path, "intermediate-*", "*", 1)
				}
				c.Client = connect(t, server, wide)
				store, err := transit.NewStore(c)
				require.NoError(t, err)
				return store
			}})
		})
	}
}

func plain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

// sealer is one over a new key-encryption key.
func sealer(t *testing.T, server *vaulttest.Server, kek string, settings map[string]any) *transit.Sealer {
	t.Helper()
	_, err := server.Request("POST", "transit/keys/"+kek, settings)
	require.NoError(t, err)
	c := transit.SealerConfig{Client: &vault.Client{}, Mount: "transit", Key: kek}
	rules, err := transit.NewSealer(c)
	require.NoError(t, err)
	c.Client = connect(t, server, rules.Rules())
	s, err := transit.NewSealer(c)
	require.NoError(t, err)
	return s
}

// TestFileStoreUnderAKeyOfVaultConforms keeps keys in files sealed under Vault.
func TestFileStoreUnderAKeyOfVaultConforms(t *testing.T) {
	server := vaulttest.Start(t)
	server.EnableEngine("transit", "transit")
	s := sealer(t, server, "kedge-kek", map[string]any{"type": "aes256-gcm96"})
	dirs := map[string]string{}
	keystoretest.Run(t, keystoretest.Subject{Durable: true, Open: func(t *testing.T) ca.KeyStore {
		t.Helper()
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = filepath.Join(t.TempDir(), "keys")
		}
		store, err := file.New(file.Config{Dir: dirs[t.Name()], Sealer: s, KeyType: fips.ECDSAP256})
		require.NoError(t, err)
		return store
	}})
}

func TestSealedFileIsBoundToItsKey(t *testing.T) {
	server := vaulttest.Start(t)
	server.EnableEngine("transit", "transit")
	s := sealer(t, server, "kedge-kek", map[string]any{"type": "aes256-gcm96"})
	secret := []byte("a private key in DER")
	sealed, err := s.Seal(t.Context(), "int-1", secret)
	require.NoError(t, err)
	require.NotContains(t, string(sealed), string(secret))
	opened, err := s.Open(t.Context(), "int-1", sealed)
	require.NoError(t, err)
	require.Equal(t, secret, opened)

	wrapped, rest := pem.Decode(sealed)
	other, err := s.Seal(t.Context(), "int-1", []byte("another"))
	require.NoError(t, err)
	_, otherKey := pem.Decode(other)
	for name, row := range map[string]struct {
		key    string
		sealed []byte
	}{
		"another name":              {"int-2", sealed},
		"another key's passphrase":  {"int-1", append(pem.EncodeToMemory(wrapped), otherKey...)},
		"no wrapped passphrase":     {"int-1", rest},
		"half of it":                {"int-1", sealed[:len(sealed)/2]},
		"nothing":                   {"int-1", nil},
		"a changed passphrase":      {"int-1", append(pem.EncodeToMemory(&pem.Block{Type: wrapped.Type, Bytes: append([]byte(nil), append(wrapped.Bytes[:len(wrapped.Bytes)-2:len(wrapped.Bytes)-2], "AA"...)...)}), rest...)},
		"only a wrapped passphrase": {"int-1", pem.EncodeToMemory(wrapped)},
	} {
		_, err := s.Open(t.Context(), row.key, row.sealed)
		require.Error(t, err, name)
	}
}

func TestUnsafeKeyEncryptionKeysAreRefused(t *testing.T) {
	server := vaulttest.Start(t)
	server.EnableEngine("transit", "transit")
	for name, settings := range map[string]map[string]any{
		"exportable": {"type": "aes256-gcm96", "exportable": true},
		"backup":     {"type": "aes256-gcm96", "allow_plaintext_backup": true},
		"asymmetric": {"type": "rsa-4096"},
		"convergent": {"type": "aes256-gcm96", "derived": true, "convergent_encryption": true},
	} {
		_, err := sealer(t, server, name, settings).Seal(t.Context(), "int-1", []byte("a key"))
		require.Equal(t, ca.ReasonRootKey, ca.ReasonOf(err), "%s: %v", name, err)
	}
}

// TestPreflightNamesTheMissingLine takes one line after the other from the policy.
func TestPreflightNamesTheMissingLine(t *testing.T) {
	server := vaulttest.Start(t)
	server.EnableEngine("transit", "transit")
	c := transit.StoreConfig{Client: &vault.Client{}, Mount: "transit", Prefix: "kedge-", KeyType: fips.ECDSAP256}
	store, err := transit.NewStore(c)
	require.NoError(t, err)
	rules := store.Rules()
	for without := range rules {
		var rest []vault.Rule
		for i, r := range rules {
			if i != without {
				rest = append(rest, r)
			}
		}
		c.Client = connect(t, server, rest)
		store, err := transit.NewStore(c)
		require.NoError(t, err)
		var missing []string
		for _, f := range store.Preflight(t.Context()) {
			if f.Level != ca.LevelOK {
				missing = append(missing, f.Next)
			}
		}
		require.Equal(t, []string{"add to the policy: " + rules[without].HCL()}, missing)
	}
	c.Client = connect(t, server, rules)
	store, err = transit.NewStore(c)
	require.NoError(t, err)
	for _, f := range store.Preflight(t.Context()) {
		require.Equal(t, ca.LevelOK, f.Level, "%+v", f)
	}
}
