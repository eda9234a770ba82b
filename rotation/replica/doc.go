// Package replica makes an issuing process follow its primary: it takes bundles,
// commands and the halt from a primary.Source, and reports what it holds, what signs
// and what was seen of the verifiers.
//
// It promises that a bundle is taken only when it follows the one that is held, that
// a command is followed only when the bundle that is held has its anchor, that what
// it reports was true of this process when it was reported, and that nothing stops
// because the source cannot be reached: issuing goes on under what is held until the
// intermediate ends.
//
// It refuses what is late, repeated, out of order or forged, each with its reason,
// and goes on.
//
// ca serve calls it, at the primary and in a zone. It reads no clock but the one that
// it is given.
package replica
