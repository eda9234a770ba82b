// Package simulate runs a rotation in virtual time over the real rotation.Plan: zones
// that lose and delay messages, fall silent and return, and verifiers that learn of a
// bundle as their class does. It tells how long each phase takes, when verifiers and
// leaves have followed, how many certificates a second that costs, and what blocked.
//
// What it promises: the same scenario and seed give the same result, on every machine;
// its memory does not grow with virtual time. It counts the verifiers that would not
// verify a living leaf, and an ordinary rotation has none.
//
// Verifiers are counted, not kept: those of a replica that renew in the same step
// with the same leaf and bundle are one number. Clocks are right, certificates are not
// made, and what a signature costs is the scenario's word.
//
// ca rotate simulate calls it, and tests. It is for planning, and gives no evidence.
package simulate
