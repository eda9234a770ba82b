// Package roottest is the conformance suite of ca.Root. Every implementation runs
// it in its own tests; it states the contract in rows. What a root must refuse of
// its own files or servers is tested where the root is.
package roottest
