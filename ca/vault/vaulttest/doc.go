// Package vaulttest starts a real HashiCorp Vault server for a test: over TLS with an
// authority of its own, with a file audit device, initialised and unsealed, on storage
// that survives Restart. Nothing here imitates Vault.
//
// The binary is the one that KEDGE_VAULT_BIN names, else the newest that
// test/tools/server built; without one the test is skipped with a sentence that says
// how to build it. Tokens and roles made here have exactly the policy given, not even
// Vault's default policy, so that a policy which lacks a line fails the test.
//
// A method without an error result fails the test, so it must be called from the
// goroutine of the test. Only tests import this package; no program links Vault.
package vaulttest
