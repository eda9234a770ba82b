// Package postgrestest runs a PostgreSQL server of its own for a test: initdb in a
// temporary directory, as a user that is not root, on loopback and a Unix socket.
//
// It promises that the server ends with the test, or with the test's process. A
// test on a machine without PostgreSQL is skipped by name. No program links it.
package postgrestest
