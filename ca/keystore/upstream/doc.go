// Package upstream holds private keys behind a Unix socket: ca-upstream with a
// PKCS#11 token, a TPM or a sealed directory behind it.
//
// A key is known by its name and pinned by its public key: one that was replaced
// under its name signs nothing. Every signature is verified here before it is
// returned, so that an upstream that answers wrongly is an error of the upstream
// and never one of the cryptographic module.
//
// It refuses keys that policy does not allow for a CA, digests of another hash
// than the key's, and RSA-PSS. Failures are *ca.Error with ReasonRootUnavailable.
//
// An intermediate's key held here signs every leaf: one call over the socket, and
// whatever the token takes, is added to each.
//
// cmd/ca uses it for `keys: {type: upstream}`.
package upstream
