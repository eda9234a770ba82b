// Package rotationapi says on the wire what is known of a rotation: its status, what
// is to come, what an emergency costs. It is pure but for Approvals, the service on
// the TLS port with which an operator at another machine agrees to a plan.
//
// It promises to leave nothing out that blocks a plan, and to say nothing that the
// plan and the reports of the replicas do not. Approvals refuses every caller whose
// client certificate does not name an operator of the configuration.
//
// Package api/admin and cmd/ca call it. It decides nothing: package rotation does.
package rotationapi
