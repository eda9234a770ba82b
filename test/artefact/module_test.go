package artefact_test

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

// codeSignatures reads the byte sequences by which the Go project makes linked
// cryptography findable in a stripped binary, from the toolchain's own source.
func codeSignatures(t *testing.T) map[string][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goEnv(t, "GOROOT"), "src/crypto/internal/boring/sig/sig_amd64.s"))
	require.NoError(t, err)
	hexByte := regexp.MustCompile(`BYTE \$0x([0-9a-fA-F]{2})`)
	signatures := map[string][]byte{}
	for _, part := range strings.Split(string(b), "TEXT ·")[1:] {
		name, body, _ := strings.Cut(part, "(SB)")
		for _, m := range hexByte.FindAllStringSubmatch(body, -1) {
			v, err := hex.DecodeString(m[1])
			require.NoError(t, err)
			signatures[name] = append(signatures[name], v...)
		}
		require.Len(t, signatures[name], 24, name)
	}
	require.Len(t, signatures, 3)
	return signatures
}

// (b) The module's code is in the stripped binary. StandardCrypto marks code
// paths that BoringCrypto must replace; small plain programs lack it too, so its
// absence counts only beside BoringCrypto.
func TestCodeSignatures(t *testing.T) {
	a := underTest(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("the Go project has code signatures for amd64 only; TestModuleSymbols stands for them")
	}
	for _, bin := range []string{a.stripped, a.unstripped} {
		b, err := os.ReadFile(bin)
		require.NoError(t, err)
		found := map[string]bool{}
		for name, s := range codeSignatures(t) {
			found[name] = bytes.Contains(b, s)
		}
		if a.backend == fips.BoringCrypto {
			require.Equal(t, map[string]bool{"BoringCrypto": true, "FIPSOnly": true, "StandardCrypto": false}, found)
			continue
		}
		require.False(t, found["BoringCrypto"])
		require.False(t, found["FIPSOnly"])
	}
}

func symbols(t *testing.T, bin string) (*elf.File, []elf.Symbol) {
	t.Helper()
	f, err := elf.Open(bin)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	list, err := f.Symbols()
	require.NoError(t, err)
	return f, list
}

// (b) The same by names, in the twin that has them.
func TestModuleSymbols(t *testing.T) {
	a := underTest(t)
	_, list := symbols(t, a.unstripped)
	boring, native := 0, 0
	for _, s := range list {
		if strings.Contains(s.Name, "_Cfunc__goboringcrypto_") {
			boring++
		}
		if strings.HasPrefix(s.Name, "crypto/internal/fips140/v1.0.0-c2097c7c/") {
			native++
		}
	}
	if a.backend == fips.BoringCrypto {
		require.Positive(t, boring)
		return
	}
	require.Zero(t, boring)
	require.Positive(t, native)
}

// moduleCode returns where the module's code lies in the file of bin: a piece
// that the integrity test covers.
func moduleCode(t *testing.T, bin string, backend fips.Backend) (int64, int) {
	t.Helper()
	want := "_goboringcrypto_ECDSA_do_sign"
	if backend == fips.Native {
		want = "go:textfipsstart"
	}
	f, list := symbols(t, bin)
	for _, s := range list {
		if s.Name != want {
			continue
		}
		for _, sec := range f.Sections {
			if sec.Type == elf.SHT_PROGBITS && s.Value >= sec.Addr && s.Value+64 <= sec.Addr+sec.Size {
				return int64(s.Value - sec.Addr + sec.Offset), 64
			}
		}
	}
	t.Fatalf("no symbol %s in %s", want, bin)
	return 0, 0
}

// copyTo writes b as an executable under a name of its own.
func copyTo(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, b, 0o755))
	return path
}

// (e) One changed bit of the module keeps the program from starting, in the
// binary that is shipped too, where the code is found by its bytes. An unchanged
// copy starts, so the copying is not what stops it.
func TestTamperedModuleDoesNotStart(t *testing.T) {
	a := underTest(t)
	offset, size := moduleCode(t, a.unstripped, a.backend)
	whole, err := os.ReadFile(a.unstripped)
	require.NoError(t, err)
	code := whole[offset : offset+int64(size)]
	for _, bin := range []string{a.unstripped, a.stripped} {
		t.Run(filepath.Base(bin), func(t *testing.T) {
			b, err := os.ReadFile(bin)
			require.NoError(t, err)
			require.Equal(t, 1, bytes.Count(b, code), "the module's code is not where it can be found")
			require.Zero(t, run(t, copyTo(t, "ca", b)).code)

			b[bytes.Index(b, code)+size/2] ^= 0x01
			o := run(t, copyTo(t, "ca", b))
			require.NotZero(t, o.code)
			require.Empty(t, o.stdout)
			want := "FIPS integrity test failed"
			if a.backend == fips.Native {
				want = "fips140: verification mismatch"
			}
			require.Contains(t, o.stderr, want)
		})
	}
}

// (j) Each self-test of the native module that Kedge relies on stops the
// process when it fails.
func TestFailingModuleSelfTestsStopTheProcess(t *testing.T) {
	a := underTest(t)
	if a.backend != fips.Native {
		t.Skip("only the native module can simulate a failed self-test; BoringCrypto's are covered by tampering")
	}
	for _, name := range []string{
		"SHA2-256", "SHA2-512", "HMAC-SHA2-256", "CTR_DRBG", "AES-CBC", "ECDSA PCT", "ECDH PCT", "KAS-ECC-SSC P-256",
		"ECDSA P-256 SHA2-512 sign and verify", "RSASSA-PKCS-v1.5 2048-bit sign and verify", "TLSv1.3-SHA2-256",
	} {
		t.Run(name, func(t *testing.T) {
			o := run(t, a.stripped, "GODEBUG=fips140=on,failfipscast="+name)
			require.NotZero(t, o.code)
			require.Contains(t, o.stderr, "self-test failed")
		})
	}
	o := run(t, a.stripped, "GODEBUG=fips140=on,failfipscast=no such test")
	require.Zero(t, o.code, "the drill itself stops the process: %s", o.stderr)
}
