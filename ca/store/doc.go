// Package store says what a durable store of an authority is: issuance records,
// events, the authority's state, documents and join tokens behind one interface.
//
// It promises nothing itself; Store is the composition of what package ca asks
// for and of what operators read, and storetest holds every implementation to
// it. Package journal has the bytes that the stores share, package schema their
// tables.
//
// Implementations: sqlite, embedded in one process. cmd/ca opens them and hands
// them to package ca, to the admin API and to api/authn.
package store
