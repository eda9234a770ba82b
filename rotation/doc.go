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
// two or three replicas (worlds_test.go), L1 and L2 from a sample of their states. Each
// guard of guards.go is taken away in turn, and the search then finds what it prevents.
// The worlds, and about how many states each has:
//
//	late reports     2.3 million  reports overtake each other; all seven guards
//	a zone joins         150 000  beside a controller that stores late
//	a replica joins       90 000  the same, in a zone that is known
//	removals             580 000  of a replica, or of a whole zone
//	exclusions           230 000  a zone goes, and comes back or not; two classes
//	both at once     1.4 million  a removal in a zone that is excluded; no aborts
//	clocks               460 000  those of verifiers are slow
//	standby              370 000  the new anchor was in the bundle; others publish
//	classes              130 000  two classes of verifiers
//	controllers          590 000  one stores what it decided long ago
//	emergency             55 000  reissue first; the old anchor is not judged
//
// Not searched but drawn at random (property_test.go): 3 to 50 zones of one class with
// clocks that are ten minutes off, and all of the above together but the emergency.
// Neither: --distrust-now, an emergency because of the new anchor, the percentage of an
// emergency, one rotation after another. The first three have tests by example.
//
// It does no I/O, reads no clock, and imports package ca alone.
package rotation
