// Package ca decides who gets which certificate and signs it.
//
// It promises that a leaf is assembled, checked and signed in one place
// (Authority.Issue), that its names come from the authenticated caller and
// never from the CSR, that the exact bytes that are signed were checked first,
// and that a durable record of the intent exists before a signature leaves the
// process.
//
// It refuses everything that it was not told to allow: a CSR that asks for
// anything but the caller's own identity is refused, not corrected, and every
// refusal is an *Error with a stable Reason.
//
// It imports the standard library, cryptobyte and package fips only. Vault,
// databases, gRPC, metrics and Kubernetes live behind the small interfaces it
// declares: Root, KeyStore, Recorder and StateStore. It never logs, never reads
// the clock but through the functions it is given, and never reads the
// environment.
//
// Package api calls it for proxies; cmd/ca wires it together.
package ca
