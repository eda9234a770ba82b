// Package file keeps private keys as encrypted files in one directory.
//
// It promises that a key exists on disk only sealed (by a Sealer: a passphrase
// now, a key-encryption key of Vault or a KMS later), that Create returns when
// the key would survive a crash and never replaces one, and that `openssl pkey`
// reads what PassphraseSealer writes: PKCS#8 under PBES2 with
// PBKDF2-HMAC-SHA-256 and AES-256-CBC.
//
// It refuses every other encryption of a key (SHA-1, DES, scrypt, fewer than
// 600 000 iterations, plain text), every file that package secretfile refuses,
// and names outside [a-z0-9-].
//
// It keeps nothing in memory: each Open derives the key-encryption key again,
// which takes part of a second, and the caller keeps the key it got.
//
// Known limit: under BoringCrypto PBKDF2's loop is the standard library's, with
// the module's SHA-256 inside; an operator who needs key wrapping inside a module
// uses an external Sealer. PBES2 does not authenticate: a changed file is found
// when its key does not decode or is not that of its certificate.
//
// cmd/ca makes the stores; package ca and package root/local use them.
package file
