// Package cas makes a root of a certificate authority that
// github.com/smallstep/certificates/cas reaches: a chain and key at hand
// (softcas), a running step-ca (stepcas) or Google's service (cloudcas).
//
// It promises that the authority is asked for exactly an intermediate: path length
// 0, keyCertSign and cRLSign, the one URI of the trust domain, a subject key id of
// SHA-256 and a serial number of the module's own random source. An authority that
// cannot be reached when the program starts is reached later, by the next call.
//
// What it cannot promise is that the authority obeys. A step-ca signs by the
// template of its provisioner (docs/upstream.md has one that serves), with a
// subject key id and a serial number of its own; the client judges the result.
//
// Known limit: the interface knows no context. A call ends with the HTTP client's
// own time limit, and api/upstream bounds how many there are at once.
//
// cmd/ca-upstream makes it; package api/upstream serves it.
package cas
