// Package rotation decides how one trust anchor takes the place of another across
// zones, without one handshake that fails.
//
// A Plan is a value. Next is pure, total and idempotent: from the plan, the time and
// the reports of the zones it returns the plan that follows and the steps to take,
// or the blockers by name. Whoever runs it stores the plan by compare-and-swap
// before any step, and takes a step as often as it likes.
//
// It promises, whatever is lost, late, repeated or reordered between it and the
// zones:
//
//	S1 every unexpired leaf verifies at every verifier of every zone that is not excluded;
//	S2 nobody signs under an anchor before the evidence is in that every verifier has it;
//	S3 no anchor leaves a bundle while a leaf under it can be unexpired at any verifier's clock;
//	S4 sequences never fall, a bundle is never empty, an abort is a higher sequence;
//	S5 a lower epoch is refused, and a report counts for the epoch that it names only;
//	S6 a leaf ends with every CA above it (package ca);
//	S7 the bound on the last leaf under an anchor is durable before that leaf is (package ca);
//	S8 the state moves by compare-and-swap of the whole plan only;
//	L1 done is reachable once the zones answer or are excluded;
//	L2 when nothing moves, at least one blocker is named.
//
// Guards carry this; guards.go names them, and a test searches every behaviour of a
// small world exhaustively, and again with each of the seven that every rotation needs
// removed, when it must find one that breaks the promise. The search has no joins, no
// skew of clocks, no exclusions, no standby and no emergency yet.
//
// An emergency waives S3, and nothing else, by a decision that the plan records.
//
// It refuses plans that cannot drain before the old anchor expires.
//
// It imports the standard library and package ca. It does no I/O and reads no clock.
package rotation
