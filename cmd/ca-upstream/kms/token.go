package kms

import (
	"context"
	"crypto"
	"fmt"

	"go.step.sm/crypto/kms/apiv1"

	"github.com/kedge-ca/kedge/ca"
)

// token is a device that keeps keys under URIs.
type token struct {
	k      *Keys
	remove func(uri string) error
}

// newToken refuses a service that cannot destroy a key.
func newToken(k *Keys) (*token, error) {
	t := &token{k: k}
	switch manager := k.manager.keys.(type) {
	case apiv1.KeyDeleter:
		t.remove = func(uri string) error { return manager.DeleteKey(&apiv1.DeleteKeyRequest{Name: uri}) }
	case interface{ DeleteKey(uri string) error }: // PKCS#11's own form
		t.remove = manager.DeleteKey
	default:
		return nil, fmt.Errorf("kms: %s cannot destroy keys from here; it can hold the root, keep the intermediates' keys elsewhere", k.manager.kind)
	}
	return t, nil
}

func (t *token) create(_ context.Context, name string) (crypto.Signer, error) {
	scheme, bits, err := algorithm(t.k.keyType)
	if err != nil {
		return nil, err
	}
	created, err := t.k.manager.keys.CreateKey(&apiv1.CreateKeyRequest{Name: t.k.uri(name), SignatureAlgorithm: scheme, Bits: bits})
	if err != nil {
		return nil, err
	}
	return t.k.manager.keys.CreateSigner(&created.CreateSignerRequest)
}

func (t *token) open(_ context.Context, name string) (crypto.Signer, error) {
	signer, err := t.k.manager.signer(t.k.uri(name))
	if err != nil && t.k.manager.isNotFound(err) {
		return nil, &ca.Error{Reason: ca.ReasonNotFound, Err: err}
	}
	return signer, err
}

func (t *token) destroy(name string) error {
	if err := t.remove(t.k.uri(name)); err != nil && !t.k.manager.isNotFound(err) {
		return err
	}
	return nil
}
