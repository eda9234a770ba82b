// Package authn says who is calling: it turns a token or a client certificate
// into a ca.Caller, or refuses with a ca.Reason.
//
// It promises that an identity comes only from a signature that it checked
// itself (tokens), that the TLS handshake checked (certificates) or from a
// secret that is spent by using it (join tokens); that keys of issuers come from
// the configured file or URL and from nowhere a token points to; and that an
// outage of an issuer is never told to a caller as its own fault.
//
// It refuses every credential that it was not configured to accept. Forwarded
// identity (XFCC and its like) cannot even be handed to it.
//
// Known limits. Tokens are checked offline, so until a token expires nobody here
// sees that its pod was deleted, that a pod of the same name took its place (the
// evidence keeps the pod's uid), or that it was copied to another node. Short
// tokens bound this; TokenReview joins with the Kubernetes integration.
//
// The adapters in package api call it once for each request.
package authn
