// Package api is the front of the certificate authority: a gRPC server for each
// port, the path that every request takes through it, and the table that
// turns refusals into wire codes.
//
// It promises that every request has a deadline, a request id and a bound on its
// size; that an unknown method is refused before anything is read; that a caller
// is authenticated before its CSR is parsed; that clients see a reason and a
// fixed sentence and nothing else; and that a drain fails no request in flight.
//
// It decides nothing about certificates: that is package ca. It knows no mesh:
// the adapters (api/istio, api/kedgeapi, api/linkerd) turn their wire forms into an
// Order and register themselves on a Server. cmd/ca wires it together.
package api
