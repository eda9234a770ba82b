package file

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
)

// Config is what a Store works with; every field is needed.
type Config struct {
	Dir     string       // holds <name>.key files; made with mode 0700 if there is none
	Sealer  Sealer       // encrypts the keys
	KeyType fips.KeyType // of the keys that Create makes
}

// Store keeps keys in a directory. It implements ca.KeyStore and is safe for
// concurrent use, also by several processes.
type Store struct {
	c Config
}

var _ ca.KeyStore = (*Store)(nil)

// New checks c and the directory.
func New(c Config) (*Store, error) {
	if c.Dir == "" || c.Sealer == nil {
		return nil, fmt.Errorf("key store needs a directory and a sealer")
	}
	if _, err := fips.ParseKeyType(string(c.KeyType)); err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	if err := secretfile.MakeDir(c.Dir); err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	return &Store{c: c}, nil
}

// Create implements ca.KeyStore. A name that exists is an error that satisfies
// errors.Is(err, fs.ErrExist).
func (s *Store) Create(ctx context.Context, name string) (ca.Key, error) {
	path, err := s.path(name)
	if err != nil {
		return nil, fmt.Errorf("creating key: %w", err)
	}
	if _, err := os.Lstat(path); err == nil { // spares the derivation; Link below decides
		return nil, fmt.Errorf("creating key %s: %s: %w", name, path, fs.ErrExist)
	}
	signer, err := fips.GenerateKey(s.c.KeyType)
	if err != nil {
		return nil, fmt.Errorf("creating key %s: %w", name, err)
	}
	if err := WriteKey(ctx, KeyFile{Path: path, Name: name, Sealer: s.c.Sealer}, signer); err != nil {
		return nil, fmt.Errorf("creating key %s: %w", name, err)
	}
	return key{Signer: signer, name: name}, nil
}

// Open implements ca.KeyStore.
func (s *Store) Open(ctx context.Context, name string) (ca.Key, error) {
	path, err := s.path(name)
	if err != nil {
		return nil, fmt.Errorf("opening key: %w", err)
	}
	signer, err := ReadKey(ctx, KeyFile{Path: path, Name: name, Sealer: s.c.Sealer})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &ca.Error{Reason: ca.ReasonNotFound, Err: err}
	}
	if err != nil {
		return nil, err
	}
	return key{Signer: signer, name: name}, nil
}

// Destroy implements ca.KeyStore; see secretfile.Remove for what it cannot do.
func (s *Store) Destroy(_ context.Context, name string) error {
	path, err := s.path(name)
	if err != nil {
		return fmt.Errorf("destroying key: %w", err)
	}
	if err := secretfile.Remove(path); err != nil {
		return fmt.Errorf("destroying key %s: %w", name, err)
	}
	return nil
}

func (s *Store) path(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	return filepath.Join(s.c.Dir, name+".key"), nil
}

// checkName keeps a name one path element that no shell or file system reads in
// two ways.
func checkName(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("name of %d bytes, needs 1 to 64", len(name))
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("name %q has a character outside [a-z0-9-]", name)
		}
	}
	return nil
}

type key struct {
	crypto.Signer
	name string
}

// Name implements ca.Key.
func (k key) Name() string { return k.name }

// KeyFile is one sealed key on disk.
type KeyFile struct {
	Path   string
	Name   string // what the Sealer knows it by
	Sealer Sealer
}

// maxKeyFile is far above the 3.5 KB of a sealed RSA-4096 key in PEM.
const maxKeyFile = 32 << 10

// WriteKey seals signer into a new file and returns when it would survive a
// crash. It fails with fs.ErrExist when there is anything at the path.
func WriteKey(ctx context.Context, f KeyFile, signer crypto.Signer) error {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return fmt.Errorf("encoding key: %w", err)
	}
	defer clear(pkcs8)
	sealed, err := f.Sealer.Seal(ctx, f.Name, pkcs8)
	if err != nil {
		return err
	}
	return secretfile.Create(f.Path, sealed)
}

// ReadKey opens the sealed key in a file. A file that does not exist satisfies
// errors.Is(err, fs.ErrNotExist); a wrong passphrase is ErrPassphrase.
func ReadKey(ctx context.Context, f KeyFile) (crypto.Signer, error) {
	sealed, err := secretfile.Read(f.Path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	pkcs8, err := f.Sealer.Open(ctx, f.Name, sealed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	defer clear(pkcs8)
	signer, err := parsePKCS8(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return signer, nil
}

// parsePKCS8 takes only what encodes to the same bytes again: in an EC key the
// public key stands beside the private one, and Go ignores it when it reads, so
// this finds a key that was changed under the unauthenticated CBC.
func parsePKCS8(pkcs8 []byte) (crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrPassphrase, err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", parsed)
	}
	if _, err := fips.KeyTypeOf(signer.Public()); err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	again, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	defer clear(again)
	if !bytes.Equal(pkcs8, again) {
		return nil, fmt.Errorf("%w: its public key is not that of its private key", ErrPassphrase)
	}
	return signer, nil
}
