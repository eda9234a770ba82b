// Package admin serves kedge.v1.Admin and, at a primary, kedge.v1.Rotation on a local
// socket: what an operator at the machine sees and does. It promises to work when
// every certificate has expired, because nothing on its path needs one: the kernel
// says who is calling.
//
// It refuses every caller but root and the server's own user, and it is served on
// no network. cmd/ca makes it; the commands of cmd/ca call it.
package admin
