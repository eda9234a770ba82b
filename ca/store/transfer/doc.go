// Package transfer moves everything that a store has into another one: records,
// events, voids and their hashes, states, documents with their versions, join
// tokens.
//
// It promises all or nothing: one transaction fills the target, and the whole chain
// of hashes is verified in it before it is committed. Then the source is marked, so
// that no server writes to it any more. After a crash between the two a second call
// finds the content in its place, and marks the source.
//
// It refuses a target that is not empty, a source that somebody writes to, and one
// that was moved elsewhere.
//
// The stores open their ends of it; cmd/ca calls it.
package transfer
