// Package vault keeps keys in Vault's transit engine: Key is a crypto.Signer whose
// private half never leaves Vault, Store is a ca.KeyStore of such keys, and Sealer
// encrypts key files under a key of Vault's.
//
// It promises that the version of a key is pinned, that every signature is one of
// the pinned public key before it is used (package fips verifies each), and that
// Sealer shows Vault a random passphrase, never a private key.
//
// It refuses keys that can be exported or backed up in plaintext, derived keys,
// and types and sizes that policy does not know.
//
// A Store puts Vault on the path of every certificate: an outage of Vault stops
// issuance. docs/roots.md says when that is worth it. cmd/ca wires it.
package vault
