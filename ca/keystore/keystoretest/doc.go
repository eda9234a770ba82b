// Package keystoretest is the conformance suite of ca.KeyStore. Every
// implementation runs it in its own tests; it states the contract in rows.
package keystoretest
