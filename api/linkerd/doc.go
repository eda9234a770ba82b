// Package linkerd speaks the protocol by which Linkerd's proxies get their
// certificates, io.linkerd.proxy.identity.Identity/Certify, exactly as they expect
// it: DER in and out, the token in the message, and DNS names for identities. It
// turns wire forms into an api.Order and back; it decides nothing.
//
// It refuses a request without a token or for no identity. Whether the identity is
// the caller's is decided by policy, from the token alone.
//
// cmd/ca registers it on a server of its own: the proxies offer no protocol by
// ALPN, which the other port refuses, and speak TLS 1.3 only.
package linkerd
