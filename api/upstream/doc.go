// Package upstream is the API by which a root or keys are held in a process of
// their own, on a Unix socket: the server around any ca.Root and ca.KeyStore, and
// the client's connection. What it protects from is in docs/adr/0008.
//
// A server promises that what it holds sees only what policy allows: a request
// that proves its key, for its own trust domain, for at most fourteen days; names
// of keys that are file names nowhere else; digests of the right length. It lets
// in the users it was given and refuses everyone else at the handshake. It signs
// no digest with the root's key, whatever name reaches it.
//
// A client refuses a server of another user, and answers above 1 MiB.
//
// cmd/ca-upstream serves it; ca/root/upstream and ca/keystore/upstream call it.
package upstream
