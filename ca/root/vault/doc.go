// Package vault is a root that HashiCorp Vault or OpenBao holds, in two ways. PKI
// has Vault's PKI engine sign each intermediate. Transit signs them here with a
// root key that never leaves Vault's transit engine.
//
// It promises that what comes back is held to what was asked for before anybody
// uses it (key, chain, path length, names, usages, dates), and that nothing here
// is on the path of a workload's request.
//
// It refuses issuers whose chain has no self-signed end, keys that could leave
// Vault, and certificates that are not the pinned key's.
//
// cmd/ca uses it for `root: {type: vault-pki}` and `root: {type: vault-transit}`.
package vault
