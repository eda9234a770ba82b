package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// StoreConfig is where a Store keeps its keys.
type StoreConfig struct {
	Client  *vault.Client
	Mount   string // of the transit engine
	Prefix  string // of the keys' names there; each replica needs one of its own
	KeyType fips.KeyType
}

// Store keeps keys in a transit engine. It implements ca.KeyStore and is safe for
// concurrent use by one process; a prefix belongs to one process, because Vault
// answers the making of a key that exists as if it had made it.
type Store struct {
	c    StoreConfig
	make sync.Mutex // held across I/O: keys are made once in days
}

var _ ca.KeyStore = (*Store)(nil)

// NewStore checks c. It asks no server.
func NewStore(c StoreConfig) (*Store, error) {
	if c.Client == nil {
		return nil, fmt.Errorf("key store: there is no connection to vault")
	}
	if _, ok := transitTypes[c.KeyType]; !ok {
		return nil, fmt.Errorf("key store: vault's transit engine makes no %s", c.KeyType)
	}
	if err := vault.CheckMount(c.Mount); err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	if err := vault.CheckName(c.Prefix); err != nil {
		return nil, fmt.Errorf("key store: prefix: %w", err)
	}
	return &Store{c: c}, nil
}

func (s *Store) key(name string) KeyConfig {
	return KeyConfig{Client: s.c.Client, Mount: s.c.Mount, Name: s.c.Prefix + name}
}

// Create implements ca.KeyStore. A name that exists is an error that satisfies
// errors.Is(err, fs.ErrExist).
func (s *Store) Create(ctx context.Context, name string) (ca.Key, error) {
	if err := vault.CheckName(name); err != nil {
		return nil, fmt.Errorf("creating key: %w", err)
	}
	s.make.Lock()
	defer s.make.Unlock()
	c := s.key(name)
	switch _, err := s.c.Client.Do(ctx, vault.Request{Operation: "read_key", Method: http.MethodGet, Path: c.path()}); {
	case err == nil:
		return nil, fmt.Errorf("creating key %s: %w", name, fs.ErrExist)
	case ca.ReasonOf(err) != ca.ReasonRootMissing:
		return nil, fmt.Errorf("creating key %s: %w", name, err)
	}
	key, err := CreateKey(ctx, c, s.c.KeyType)
	if err != nil {
		return nil, err
	}
	key.name = name
	return key, nil
}

// Open implements ca.KeyStore.
func (s *Store) Open(ctx context.Context, name string) (ca.Key, error) {
	if err := vault.CheckName(name); err != nil {
		return nil, fmt.Errorf("opening key: %w", err)
	}
	key, err := OpenKey(ctx, s.key(name))
	switch {
	case ca.ReasonOf(err) == ca.ReasonRootMissing && !errors.Is(err, vault.ErrAway):
		return nil, &ca.Error{Reason: ca.ReasonNotFound, Err: err}
	case err != nil:
		return nil, err
	}
	key.name = name
	return key, nil
}

// Destroy implements ca.KeyStore.
func (s *Store) Destroy(ctx context.Context, name string) error {
	if err := vault.CheckName(name); err != nil {
		return fmt.Errorf("destroying key: %w", err)
	}
	key := s.key(name)
	path := key.path()
	_, err := s.c.Client.Do(ctx, vault.Request{
		Operation: "allow_deletion", Method: http.MethodPost, Path: path + "/config", Body: map[string]any{"deletion_allowed": true},
	})
	if isAbsent(err) {
		return nil
	}
	if err == nil {
		_, err = s.c.Client.Do(ctx, vault.Request{Operation: "delete_key", Method: http.MethodDelete, Path: path})
	}
	if err != nil && !isAbsent(err) {
		return fmt.Errorf("destroying key %s: %w", name, err)
	}
	return nil
}

// isAbsent knows how Vault answers for a key that is not there: with 400 where it
// was to be changed.
func isAbsent(err error) bool {
	switch ca.ReasonOf(err) {
	case ca.ReasonRootMissing:
		return !errors.Is(err, vault.ErrAway)
	case ca.ReasonRootRefused:
		return strings.Contains(err.Error(), "no existing key") || strings.Contains(err.Error(), "not found")
	}
	return false
}
