// Package upstreamtest serves an upstream to tests on a socket of their own: the
// real server around a root and keys, or a fake one that lies.
package upstreamtest
