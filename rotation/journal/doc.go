// Package journal keeps what the primary of a trust domain has to remember: the plan
// and those before it, the chain of signed bundles, the zones with their replicas
// and last reports, join tokens, the last command of each zone, the halt, and who
// leads.
//
// It promises that each of them changes by compare-and-swap in the ca.Documents that
// it is given: of two processes that change one thing, one is told that it came late.
// Sequences of bundles and epochs of commands only grow, whoever asks. What it has
// stored survives a crash; where the outcome of a write is unknown, the caller gets
// the error and may do the same again.
//
// It refuses documents that a newer program wrote with more in them than this one
// knows, since writing them back would lose it.
//
// Package rotation/primary calls it. It keeps nothing in memory and reads no clock.
package journal
