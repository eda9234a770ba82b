// Package primary is the primary of a trust domain: it publishes the chain of signed
// bundles, admits zones and their replicas, gives them commands, collects their
// reports, and runs the plan of a rotation by them.
//
// Any number of processes may be the primary together, over the same ca.Documents.
// One of them leads, and another does when its lease has ended; but safety never
// rests on that: the plan, the chain and the commands change by compare-and-swap
// only (package rotation/journal).
//
// It promises that what it publishes follows what it has published, that nothing is
// told to a zone before it is stored, that until when a replica may sign is stored
// before the replica is given an intermediate, and that each act of an operator and
// each phase of a plan is an event in the audit trail.
//
// It refuses to publish, and says so as a blocker, while a zone holds a bundle or a
// command that its own journal does not have: the journal is then an old copy of
// itself, and Reconstruct puts it right.
//
// The server of zones, the operator's socket and ca serve call it; package
// rotation/replica follows it. It knows no wire.
package primary
