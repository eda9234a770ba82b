package kms

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"go.step.sm/crypto/kms/apiv1"
	"go.step.sm/crypto/tpm"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Keys are the keys of a service whose URIs have one form. It implements
// ca.KeyStore.
type Keys struct {
	manager *Manager
	form    string
	keyType fips.KeyType
	turn    chan struct{} // one at a time makes or destroys
	at      place
}

var _ ca.KeyStore = (*Keys)(nil)

// place is what services do in different ways. A key that is not there is an
// error of ReasonNotFound.
type place interface {
	create(ctx context.Context, name string) (crypto.Signer, error)
	open(ctx context.Context, name string) (crypto.Signer, error)
	destroy(name string) error
}

// Keys makes a store. In form, {name} stands for a key's name and {id} for a
// number made from it, which PKCS#11 wants too: pkcs11:id={id};object={name}.
// Software keys are files: softkms:/dir/{name}.key.
func (m *Manager) Keys(form string, keyType fips.KeyType) (*Keys, error) {
	if err := checkURI(form); err != nil {
		return nil, err
	}
	if kind, err := apiv1.TypeOf(form); err != nil || kind != m.kind {
		return nil, fmt.Errorf("kms: keys %q are not of the service %s", form, m.kind)
	}
	if strings.Count(form, "{name}") != 1 {
		return nil, fmt.Errorf("kms: keys %q need {name} where a key's name goes", form)
	}
	if m.kind == apiv1.PKCS11 && !strings.Contains(form, "id={id}") {
		return nil, fmt.Errorf("kms: keys %q need id={id}: a token finds a new key by both", form)
	}
	if _, _, err := algorithm(keyType); err != nil {
		return nil, err
	}
	k := &Keys{manager: m, form: form, keyType: keyType, turn: make(chan struct{}, 1)}
	var err error
	if m.kind == apiv1.SoftKMS {
		k.at, err = newFiles(k)
	} else {
		k.at, err = newToken(k)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// uri is where the key of a name is.
func (k *Keys) uri(name string) string {
	sum := sha256.Sum256([]byte(name))
	return strings.NewReplacer("{name}", name, "{id}", hex.EncodeToString(sum[:16])).Replace(k.form)
}

// Create implements ca.KeyStore.
func (k *Keys) Create(ctx context.Context, name string) (ca.Key, error) {
	done, err := k.start(ctx, name)
	if err != nil {
		return nil, err
	}
	defer done()
	signer, err := k.at.create(ctx, name)
	if errors.Is(err, apiv1.AlreadyExistsError{}) || errors.Is(err, tpm.ErrExists) {
		err = fmt.Errorf("%w (%s)", fs.ErrExist, k.uri(name))
	}
	if err != nil {
		return nil, fmt.Errorf("creating key %s: %w", name, err)
	}
	return key{Signer: signer, name: name}, nil
}

// Open implements ca.KeyStore.
func (k *Keys) Open(ctx context.Context, name string) (ca.Key, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	signer, err := k.at.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", name, err)
	}
	return key{Signer: signer, name: name}, nil
}

// Destroy implements ca.KeyStore.
func (k *Keys) Destroy(ctx context.Context, name string) error {
	done, err := k.start(ctx, name)
	if err != nil {
		return err
	}
	defer done()
	if err := k.at.destroy(name); err != nil {
		return fmt.Errorf("destroying key %s: %w", name, err)
	}
	return nil
}

// start waits for the turn of a call that changes something.
func (k *Keys) start(ctx context.Context, name string) (done func(), err error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	select {
	case k.turn <- struct{}{}:
		return func() { <-k.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// checkName keeps a name from being read as anything else in a URI or a path.
func checkName(name string) error {
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("key name %q is not 1 to 64 characters of [a-z0-9-]", name)
	}
	return nil
}

type key struct {
	crypto.Signer
	name string
}

// Name implements ca.Key.
func (k key) Name() string { return k.name }
