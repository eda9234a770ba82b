// Package rotation decides how one trust anchor takes the place of another across
// zones, without one handshake that fails. Whoever runs rotations calls it
// (rotation/primary) and keeps the plan (rotation/journal).
//
// A Plan is a value. Next is pure, total and idempotent: from the plan, the time and
// the reports of replicas it returns the plan that follows and the steps to take, or
// the blockers by name. The plan is stored by compare-and-swap before any step, and a
// step is taken as often as one likes.
//
// Whatever is lost, late, repeated or reordered, and whoever joins, leaves, is
// excluded and returns, it promises:
//
//	S1 every unexpired leaf verifies at every verifier of every zone that is not excluded;
//	S2 nobody signs under an anchor before the evidence is in that every verifier has it;
//	S3 no anchor leaves a bundle while a leaf under it can be unexpired at any verifier's clock;
//	S4 sequences never fall, a bundle is never empty, an abort is a higher sequence;
//	S5 a lower epoch is refused, and a report counts for the epoch that it names only;
//	S6 a leaf ends with every CA above it (package ca);
//	S7 the bound on the last leaf under an anchor is durable before that leaf is (package ca);
//	S8 the state moves by compare-and-swap of the whole plan only;
//	L1 done or aborted is reachable once the zones answer or are excluded;
//	L2 when nothing moves, at least one blocker is named.
//
// An emergency waives S3, and with --distrust-now S2, by a decision that is recorded.
// Plans that cannot drain before the old anchor expires are refused.
//
// S1, S4, S5 and S8 are searched exhaustively in small worlds of one or two zones with
// two or three replicas (worlds_test.go), L1 and L2 from a sample of their states; each
// guard of guards.go is taken away in turn, and the search then finds what it prevents:
//
//	late reports     reports overtake each other; the seven guards   2 260 064 states
//	a zone joins     beside two slow controllers                       154 263
//	a replica joins  the same, in a zone that is known                  89 961
//	removals         a replica or a whole zone, at any moment          575 541
//	exclusions       a zone goes, and comes back or not                 57 095
//	clocks           a verifier's is slow                              457 094
//	standby          New was in the bundle before; others publish      366 314
//	classes          two classes of verifiers in a zone                132 445
//	controllers      one stores what it decided long ago               587 994
//	emergency        reissue first; the old anchor is not judged        55 129
//
// Not searched, but tested at random with 3 to 50 zones, clocks that are ten minutes off
// and all of the above together but classes and emergencies: property_test.go. Neither searched nor
// random: --distrust-now, an emergency because of the new anchor, a rotation that
// follows another. No I/O, no clock; it imports ca alone.
package rotation
