package kms

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.step.sm/crypto/kms/apiv1"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
)

// files are software keys. The service makes keys and forgets them, so they are
// sealed into files here, in the form that package ca/keystore/file has.
type files struct {
	k      *Keys
	sealer file.Sealer
}

func newFiles(k *Keys) (*files, error) {
	sealer, err := file.NewPassphraseSealer(k.manager.c.Password)
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	f := &files{k: k, sealer: sealer}
	path := f.file("x").Path
	if !filepath.IsAbs(path) || filepath.Base(path) != "x.key" {
		return nil, fmt.Errorf("kms: keys %q are not softkms:/directory/{name}.key", k.form)
	}
	if err := secretfile.MakeDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	return f, nil
}

func (f *files) file(name string) file.KeyFile {
	return file.KeyFile{Path: strings.TrimPrefix(f.k.uri(name), "softkms:"), Name: name, Sealer: f.sealer}
}

func (f *files) create(ctx context.Context, name string) (crypto.Signer, error) {
	to := f.file(name)
	if _, err := os.Lstat(to.Path); err == nil { // spares the derivation; WriteKey decides
		return nil, fs.ErrExist
	}
	scheme, bits, err := algorithm(f.k.keyType)
	if err != nil {
		return nil, err
	}
	created, err := f.k.manager.keys.CreateKey(&apiv1.CreateKeyRequest{Name: f.k.uri(name), SignatureAlgorithm: scheme, Bits: bits})
	if err != nil {
		return nil, err
	}
	signer, ok := created.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", created.PrivateKey)
	}
	if err := file.WriteKey(ctx, to, signer); err != nil {
		return nil, err
	}
	return f.k.manager.keys.CreateSigner(&apiv1.CreateSignerRequest{Signer: signer})
}

func (f *files) open(ctx context.Context, name string) (crypto.Signer, error) {
	signer, err := file.ReadKey(ctx, f.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &ca.Error{Reason: ca.ReasonNotFound, Err: err}
	}
	if err != nil {
		return nil, err
	}
	return f.k.manager.keys.CreateSigner(&apiv1.CreateSignerRequest{Signer: signer})
}

func (f *files) destroy(name string) error { return secretfile.Remove(f.file(name).Path) }
