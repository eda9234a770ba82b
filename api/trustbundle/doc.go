// Package trustbundle writes the trust bundle as others read it, and serves it over
// HTTPS.
//
// It promises canonical bytes: one bundle has one encoding in each form, so that
// nobody sees a change where there is none, and an ETag is the hash of the bytes.
//
// It refuses nothing that a ca.Bundle can be but a key of a type that no JSON Web Key
// is defined for here. It holds no TLS configuration, no timer and no state but the
// encoding of the bundle that was asked for last.
//
// ca serve uses it for the SPIFFE bundle endpoint, ca bundle export for files.
package trustbundle
