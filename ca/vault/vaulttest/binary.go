package vaulttest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BinaryVar names the environment variable with the path of the Vault binary.
const BinaryVar = "KEDGE_VAULT_BIN"

// binary finds the Vault binary, or skips the test.
func binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(BinaryVar); path != "" {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%s: %v", BinaryVar, err)
		}
		return path
	}
	path := newest(cacheDir())
	if path == "" {
		t.Skip("there is no Vault binary: build it with test/tools/server vault, or name one in " + BinaryVar)
	}
	return path
}

// cacheDir is where test/tools/server puts what it builds.
func cacheDir() string {
	if dir := os.Getenv("E2E_CACHE"); dir != "" {
		return dir
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	return filepath.Join(cache, "kedge", "e2e")
}

// newest returns the Vault binary that was built last in a folder, or "". The name
// ends in the hash of what it was built from; other files there are half built.
func newest(dir string) string {
	paths, err := filepath.Glob(filepath.Join(dir, "vault-????????????????"))
	if err != nil {
		return ""
	}
	var path string
	var built time.Time
	for _, p := range paths {
		info, err := os.Stat(p)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && info.ModTime().After(built) {
			path, built = p, info.ModTime()
		}
	}
	return path
}
