// Package bundle makes and checks the chain of signed trust bundles that zones
// follow.
//
// Bundle k carries the hash of bundle k−1 and is signed by a threshold of the
// bundle keys that k−1 names; where k names other keys, by a threshold of those as
// well. So a zone that slept through three rotations catches up from any copy, by
// whatever channel, and a stolen trust anchor cannot rewrite the list of anchors:
// the keys are apart.
//
// It promises that a bundle which is accepted follows the one that is held without a
// gap, that one bundle has one encoding, and that every refusal has its reason.
//
// It refuses bundles that are late, replayed, out of order, forged, truncated, of
// another trust domain or another history.
//
// The primary makes them, zones and watchers check them. It does no I/O and reads no
// clock. The age of a bundle is not judged here: it raises alarms and never stops
// traffic.
package bundle
