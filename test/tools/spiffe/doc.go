// Package spiffe has go-spiffe, the reference implementation of the SPIFFE
// standards, read what ca issue wrote: it parses SVID and bundle, verifies the
// one against the other and uses them for mutual TLS.
//
// KEDGE_ISSUED names a directory with tls.crt, tls.key and bundle.pem, and
// KEDGE_OTHER one of another authority of the same trust domain; without them
// every test of certificates fails. KEDGE_ENDPOINT is a bundle endpoint. The suite
// test/e2e/spiffe runs it.
package spiffe
