// Package upstream is a root behind a Unix socket: ca-upstream with a certificate
// authority of smallstep, an HSM or a cloud KMS behind it.
//
// It believes nothing that comes back. A chain is returned only if it certifies
// the key of the request as an intermediate of the trust domain, for the time
// that was asked for, under the anchor, with keys and algorithms that policy
// allows. What is refused, and every failure to get an answer, is a *ca.Error with
// ReasonRootUnavailable; the end of the context satisfies errors.Is.
//
// It is asked when an intermediate is due, never for a workload.
//
// cmd/ca uses it for `root: {type: upstream}`.
package upstream
