// Package ledger is the reading end of a store that is kept in SQL: records and
// events, live keys, the state, documents, the check of the hash chains, and the
// mark by which a store that is older than it should be is found.
//
// It promises the same answers over every database that has the tables of package
// schema, reads in portions, and holds no transaction between them.
//
// It refuses rows that package journal would not have written. It writes nothing:
// each store has a writing end of its own.
//
// The stores embed a Reader; package transfer reads through one inside a
// transaction.
package ledger
