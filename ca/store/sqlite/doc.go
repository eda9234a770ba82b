// Package sqlite is the store that lives inside the process: one directory, no
// server.
//
// It promises that Intend returns only when the record is synced to disk, and
// that many records share one sync (group commit): one goroutine writes, takes
// whatever has come in since its last commit, and answers all of it together.
// The log is tamper-evident (Verify). A failed commit fails the records that were
// in it and no others; the store opens its connection anew and goes on.
//
// It refuses a directory or file that others can reach, links, a second writer on
// the same directory, a database of a newer schema or of another program, and,
// when too much is waiting, the record (ReasonOverloaded) rather than memory.
//
// Known limits. A repeated serial is refused when it is among the last 4 096
// records or the first one after a start; beyond that its 128 random bits stand
// guard. Searches by serial or identity read a summary of three bytes a
// record (package journal), about 30 MB for ten million records. A network file
// system does not keep SQLite's promises.
//
// cmd/ca opens it.
package sqlite
