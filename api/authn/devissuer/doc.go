// Package devissuer is an issuer of service-account tokens that lives in the
// process of `ca dev` and exists for nothing else: whoever can reach it can be
// any workload.
//
// It promises tokens of the shape that a Kubernetes API server gives to pods,
// so that the dev mode walks the same path as production, and a key that is made
// at start and never leaves memory.
//
// It refuses names that would give the subject other segments than it has. It
// decides nothing about whom to give a token: its only caller, cmd/ca in dev
// mode, must say so loudly.
package devissuer
