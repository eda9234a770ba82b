// Package kms makes a root and a key store of what go.step.sm/crypto/kms reaches:
// a PKCS#11 token, a TPM, the key services of AWS, Google and Azure, or sealed
// files.
//
// It promises that a root's intermediates are assembled and signed by package ca,
// with the token as a signer of digests and nothing more; that keys have the type
// that was configured, cannot be extracted where the token can say so, and are
// made one at a time, because PKCS#11 lets two objects have one name.
//
// It refuses URIs that carry a PIN or a password, which would end up in messages;
// a root key that is not that of its certificate; and keys in services that cannot
// destroy them, since retired keys must go. Those hold roots only. A TPM keeps none of
// the keys that it seals: it is refused without a directory for them.
//
// Known limit: PKCS#11 and the TPM block until the device answers, whatever the
// context says.
//
// cmd/ca-upstream makes both; package api/upstream serves them.
package kms
