// Package schema has the tables of the durable store, as migrations that run in
// order, each once.
//
// The SQL is written once for every database. What differs between them is in
// Dialect: the names of four types and one suffix. It promises that the
// migrations of a released version never change.
//
// The SQL stores call it.
package schema
