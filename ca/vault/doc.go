// Package vault is one connection to a HashiCorp Vault or OpenBao server: it logs
// in, stays logged in for months without an operator, and makes bounded requests.
//
// It promises that every failure is a *ca.Error with a reason of its own, that no
// answer is larger than 1 MiB, that a token which ends or is revoked is replaced
// by a new login, and that credentials are read again at each login, so that they
// can be replaced under a running server.
//
// It refuses addresses without TLS, servers that are not under the pinned
// authority, redirects, and answers that are not Vault's. Address, token, namespace
// and authority come from the configuration alone: VAULT_ADDR, VAULT_TOKEN and their
// kind have no effect.
//
// Packages ca/root/vault and ca/keystore/vault build on it. Nothing here is on the
// path of a workload's request.
package vault
