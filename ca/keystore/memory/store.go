package memory

import (
	"context"
	"crypto"
	"fmt"
	"io/fs"
	"sync"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Store keeps keys in memory. It implements ca.KeyStore.
type Store struct {
	keyType fips.KeyType

	mu   sync.Mutex
	keys map[string]key
}

var _ ca.KeyStore = (*Store)(nil)

// New makes an empty store whose Create makes keys of keyType.
func New(keyType fips.KeyType) (*Store, error) {
	if _, err := fips.ParseKeyType(string(keyType)); err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	return &Store{keyType: keyType, keys: make(map[string]key)}, nil
}

// Create implements ca.KeyStore.
func (s *Store) Create(_ context.Context, name string) (ca.Key, error) {
	if name == "" {
		return nil, fmt.Errorf("creating key: it has no name")
	}
	signer, err := fips.GenerateKey(s.keyType) // outside the lock: RSA takes a second
	if err != nil {
		return nil, fmt.Errorf("creating key %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := s.keys[name]; exists {
		return nil, fmt.Errorf("creating key %s: %w", name, fs.ErrExist)
	}
	s.keys[name] = key{Signer: signer, name: name}
	return s.keys[name], nil
}

// Open implements ca.KeyStore.
func (s *Store) Open(_ context.Context, name string) (ca.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.keys[name]
	if !ok {
		return nil, ca.Refuse(ca.ReasonNotFound, "key %q", name)
	}
	return k, nil
}

// Destroy implements ca.KeyStore.
func (s *Store) Destroy(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, name)
	return nil
}

type key struct {
	crypto.Signer
	name string
}

// Name implements ca.Key.
func (k key) Name() string { return k.name }
