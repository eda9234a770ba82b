// Package client gets certificates from a Kedge server over kedge.v1 and keeps
// them fresh. Keys are made here and never leave.
//
// It promises that the server is verified against the bundle it was given, that a
// token file is read at each call, that a renewal uses a new key, and that a
// certificate that works is never given up because a renewal failed.
//
// cmd/ca uses it for ca issue and ca renew; anyone's code may.
package client
