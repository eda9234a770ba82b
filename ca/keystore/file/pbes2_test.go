package file

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

const passphrase = "correct horse battery"

func newSealer(t testing.TB, passphrase string) *PassphraseSealer {
	t.Helper()
	sealer, err := NewPassphraseSealer([]byte(passphrase))
	require.NoError(t, err)
	return sealer
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return content
}

func TestSealerOpensWhatItSealed(t *testing.T) {
	sealer := newSealer(t, passphrase)
	for _, name := range []string{"ec.der", "rsa.der"} {
		key := golden(t, name)
		one, err := sealer.Seal(t.Context(), "root", key)
		require.NoError(t, err)
		two, err := sealer.Seal(t.Context(), "root", key)
		require.NoError(t, err)
		require.NotEqual(t, one, two, "salt and IV are new each time")
		opened, err := sealer.Open(t.Context(), "root", one)
		require.NoError(t, err)
		require.Equal(t, key, opened)
	}
}

func TestSealerRefusesAShortPassphrase(t *testing.T) {
	_, err := NewPassphraseSealer([]byte("fifteen bytes!!"))
	require.ErrorContains(t, err, "it has 15 bytes, at least 16 are needed")
}

func TestSealerRefusesAnotherPassphrase(t *testing.T) {
	sealed, err := newSealer(t, passphrase).Seal(t.Context(), "root", golden(t, "ec.der"))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "root.key")
	require.NoError(t, os.WriteFile(path, sealed, 0o600))
	_, err = ReadKey(t.Context(), KeyFile{Path: path, Name: "root", Sealer: newSealer(t, "another passphrase")})
	require.ErrorIs(t, err, ErrPassphrase)
	require.ErrorContains(t, err, path)
}

func TestOpenRefusesOtherEncryptions(t *testing.T) {
	sealed, err := newSealer(t, passphrase).Seal(t.Context(), "root", golden(t, "ec.der"))
	require.NoError(t, err)
	for name, row := range map[string]struct {
		file []byte
		want string
	}{
		"HMAC-SHA-1 as PRF":     {golden(t, "sha1-prf.pem"), "HMAC-SHA-1 is not allowed"},
		"HMAC-SHA-512 as PRF":   {golden(t, "sha512-prf.pem"), "PBKDF2 with 1.2.840.113549.2.11 is not allowed"},
		"599 999 iterations":    {golden(t, "few-iterations.pem"), "599999 PBKDF2 iterations, at least 600000"},
		"a salt of 8 bytes":     {golden(t, "short-salt.pem"), "salt of 8 bytes"},
		"AES-128":               {golden(t, "aes-128.pem"), "cipher 2.16.840.1.101.3.4.1.2 is not allowed"},
		"triple DES":            {golden(t, "triple-des.pem"), "cipher 1.2.840.113549.3.7 is not allowed"},
		"scrypt":                {golden(t, "scrypt.pem"), "key derivation 1.3.6.1.4.1.11591.4.11 is not allowed"},
		"PBES1":                 {golden(t, "pbes1.pem"), "encryption scheme 1.2.840.113549.1.12.1.3 is not allowed"},
		"a plain key":           {golden(t, "plain.pem"), "not encrypted (PRIVATE KEY)"},
		"OpenSSL's old format":  {golden(t, "legacy.pem"), "not encrypted (EC PRIVATE KEY)"},
		"two keys":              {bytes.Repeat(sealed, 2), "one key stands in a file"},
		"text before the key":   {append([]byte("key:\n"), sealed...), "one key stands in a file"},
		"text after the key":    {append(bytes.Clone(sealed), "x"...), "more after the PEM block"},
		"a truncated key":       {sealed[:len(sealed)-30], "truncated"},
		"an empty file":         {nil, "truncated"},
		"a certificate":         {bytes.ReplaceAll(sealed, []byte("ENCRYPTED PRIVATE KEY"), []byte("CERTIFICATE")), "PEM block is a CERTIFICATE"},
		"PEM headers":           {withHeader(t, sealed), "more than the PEM block"},
		"something that is not": {pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("hello")}), "not an encrypted PKCS#8 key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newSealer(t, passphrase).Open(t.Context(), "root", row.file)
			require.ErrorContains(t, err, row.want)
			require.ErrorContains(t, err, "opening key root")
		})
	}
}

func withHeader(t *testing.T, sealed []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(sealed)
	block.Headers = map[string]string{"Comment": "x"}
	return pem.EncodeToMemory(block)
}

// The rows change one parameter of a sound key, so that nothing else can be the
// reason for the refusal.
func TestParseSealedRefusesParameters(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*sealedKey)
		want   string
	}{
		"599 999 iterations":        {func(s *sealedKey) { s.Scheme.Params.KDF.Params.Iterations = iterations - 1 }, "at least 600000"},
		"iterations that take ages": {func(s *sealedKey) { s.Scheme.Params.KDF.Params.Iterations = 1 << 31 }, "at most 10000000"},
		"negative iterations":       {func(s *sealedKey) { s.Scheme.Params.KDF.Params.Iterations = -1 }, "at least 600000"},
		"a salt of 15 bytes":        {func(s *sealedKey) { s.Scheme.Params.KDF.Params.Salt = make([]byte, 15) }, "salt of 15 bytes"},
		"a salt of 65 bytes":        {func(s *sealedKey) { s.Scheme.Params.KDF.Params.Salt = make([]byte, 65) }, "salt of 65 bytes"},
		"another key length":        {func(s *sealedKey) { s.Scheme.Params.KDF.Params.KeyLength = 16 }, "key length 16"},
		"a PRF with parameters": {func(s *sealedKey) {
			s.Scheme.Params.KDF.Params.PRF.Null = asn1.RawValue{Tag: asn1.TagOctetString, Bytes: []byte{1}}
		}, "HMAC-SHA-256 has parameters"},
		"an IV of 8 bytes":     {func(s *sealedKey) { s.Scheme.Params.Cipher.IV = make([]byte, 8) }, "IV of 8 bytes"},
		"no ciphertext":        {func(s *sealedKey) { s.Ciphertext = nil }, "no number of blocks"},
		"a part of a block":    {func(s *sealedKey) { s.Ciphertext = make([]byte, 17) }, "no number of blocks"},
		"more than any key is": {func(s *sealedKey) { s.Ciphertext = make([]byte, maxSealedDER) }, "limit 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			sealed := soundKey()
			row.change(&sealed)
			der, err := asn1.Marshal(sealed)
			require.NoError(t, err)
			_, err = parseSealed(der)
			require.ErrorContains(t, err, row.want)
		})
	}
}

func TestParseSealedRefusesBytesThatDoNotBelong(t *testing.T) {
	sound, err := asn1.Marshal(soundKey())
	require.NoError(t, err)
	_, err = parseSealed(sound)
	require.NoError(t, err)

	_, err = parseSealed(append(bytes.Clone(sound), 0))
	require.ErrorContains(t, err, "1 bytes after the sealed key")

	inside := append(bytes.Clone(sound), 5, 0) // a NULL at the end of the outer SEQUENCE
	inside[2] += 2
	_, err = parseSealed(inside)
	require.ErrorContains(t, err, "bytes that do not belong")
}

func soundKey() sealedKey {
	return sealedKey{
		Scheme: pbes2Scheme{Algorithm: oidPBES2, Params: pbes2Params{
			KDF: kdf{Algorithm: oidPBKDF2, Params: pbkdf2Params{
				Salt: make([]byte, saltLen), Iterations: iterations,
				PRF: prf{Algorithm: oidHMACWithSHA256, Null: asn1.NullRawValue},
			}},
			Cipher: cipherScheme{Algorithm: oidAES256CBC, IV: make([]byte, 16)},
		}},
		Ciphertext: make([]byte, 64),
	}
}

// FuzzParseSealed: whatever is accepted has exactly the one allowed combination
// and one encoding, and names a bounded amount of work.
func FuzzParseSealed(f *testing.F) {
	sound, err := asn1.Marshal(soundKey())
	require.NoError(f, err)
	f.Add(sound)
	for _, name := range []string{"sha1-prf.pem", "scrypt.pem", "pbes1.pem", "triple-des.pem", "short-salt.pem"} {
		block, _ := pem.Decode(golden(f, name))
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		sealed, err := parseSealed(der)
		if err != nil {
			return
		}
		kdf := sealed.Scheme.Params.KDF
		require.Equal(t, oidPBES2, sealed.Scheme.Algorithm)
		require.Equal(t, oidPBKDF2, kdf.Algorithm)
		require.Equal(t, oidHMACWithSHA256, kdf.Params.PRF.Algorithm)
		require.Equal(t, oidAES256CBC, sealed.Scheme.Params.Cipher.Algorithm)
		require.GreaterOrEqual(t, kdf.Params.Iterations, 600_000)
		require.LessOrEqual(t, kdf.Params.Iterations, maxIterations)
		require.GreaterOrEqual(t, len(kdf.Params.Salt), 16)
		again, err := asn1.Marshal(sealed)
		require.NoError(t, err)
		require.Equal(t, der, again)
	})
}

func BenchmarkOpen(b *testing.B) {
	sealer := newSealer(b, passphrase)
	sealed, err := sealer.Seal(b.Context(), "root", golden(b, "ec.der"))
	require.NoError(b, err)
	for b.Loop() {
		if _, err := sealer.Open(b.Context(), "root", sealed); err != nil {
			b.Fatal(err)
		}
	}
}
