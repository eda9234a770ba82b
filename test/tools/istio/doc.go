// Package istio runs Istio's own certificate client against a real ca process:
// the gRPC client of pilot-agent (providers/citadel) and the secret cache above
// it, which is what Envoy's SDS asks.
//
// It promises to use both unchanged, over TLS, with the token in a file, as an
// agent in a pod does. It is a module of its own, so that Istio's dependencies
// are never linked into Kedge. KEDGE_BIN names the binary under test; without it
// every test fails.
//
// The suite test/e2e/istio runs it.
package istio
