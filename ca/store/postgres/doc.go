// Package postgres is the store of a replicated primary: several servers on one
// PostgreSQL, 13 or newer.
//
// It promises what package sqlite promises, across replicas: each log is one dense
// sequence and one chain of hashes, whoever writes; a serial, a join token and a
// version of a document have one winner. Many records share one transaction. While
// the server restarts or fails over, writes fail, and go on by themselves after it.
// An error while committing leaves the outcome unknown, and says so.
//
// It refuses a connection that is not verified by name, except to loopback and to a
// Unix socket; passwords by any method but SCRAM-SHA-256; a server that does not
// sync what it commits; a standby; a schema that is newer or another program's.
//
// Known limits. A pooler between it and the server must pool sessions, not
// transactions. A replica that hangs in the middle of a commit holds the others up
// for five seconds at most; then the server ends its session. pgx reads the
// variable PGSERVICE; it can make a start fail, and change nothing else.
//
// cmd/ca opens it.
package postgres
