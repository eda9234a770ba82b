// Command load asks a server for certificates at a steady rate and counts what it
// does not get. It answers the one question of the suite outage: does a workload
// notice that the root is away?
//
// It is its own issuer of tokens, asks for many identities, keeps one connection, as
// an agent does, and verifies each certificate. One more workload renews every second
// by mutual TLS, each time on a new connection. The clock is that of the server, which
// the suite sets forward. It stops on SIGTERM.
package main
