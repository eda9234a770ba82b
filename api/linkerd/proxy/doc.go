// Package proxy is a client that asks for a certificate as Linkerd's proxy does,
// and the rules by which that proxy accepts the server and its answer, each with
// its source.
//
// It promises to be no more lenient than linkerd2-proxy: TLS 1.3, no ALPN, DER, the
// token in the message, and every rule of Rules. It was written from the proxy's
// source and is not the proxy: what it cannot copy is written at its rule.
//
// It is for tests and for the end-to-end suite (test/e2e/probe), and is linked into
// no program that ships.
package proxy
