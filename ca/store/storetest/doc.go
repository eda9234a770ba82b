// Package storetest is the conformance suite of store.Store. Every implementation
// runs it in its own tests:
//
//	func TestStoreConforms(t *testing.T) { storetest.Run(t, open) }
//
// It holds a store to what package ca and package store promise of it: what was
// acknowledged is there after a restart and after kill -9, a compare-and-swap and
// a token have one winner, and a search finds exactly what it should.
package storetest
