package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// Preflight makes a key, has it sign and destroys it.
func (s *Store) Preflight(ctx context.Context) []ca.Finding { return findings(s.Rules(), s.try(ctx)) }

// Permitted is the first error of what Preflight tries.
func (s *Store) Permitted(ctx context.Context) error { return errors.Join(s.try(ctx)...) }

// try has an error, or nil, for each rule in turn, up to one that makes the next
// pointless.
func (s *Store) try(ctx context.Context) []error {
	name, err := preflightName()
	if err != nil {
		return []error{err}
	}
	key, err := s.Create(ctx, name)
	if err != nil {
		return []error{err}
	}
	scheme, err := fips.SchemeFor(key.Public())
	if err == nil {
		_, err = fips.Sign(key, scheme, []byte("kedge preflight: this is no certificate"))
	}
	return []error{s.Destroy(ctx, name), err}
}

// findings judges what came of trying rules.
func findings(rules []vault.Rule, tried []error) []ca.Finding {
	all := make([]ca.Finding, len(tried))
	for i, err := range tried {
		all[i] = vault.Permission(rules[i], err)
	}
	return all
}

// Preflight seals and opens a few bytes.
func (s *Sealer) Preflight(ctx context.Context) []ca.Finding { return findings(s.Rules(), s.try(ctx)) }

// Permitted is the first error of what Preflight tries.
func (s *Sealer) Permitted(ctx context.Context) error { return errors.Join(s.try(ctx)...) }

func (s *Sealer) try(ctx context.Context) []error {
	if err := s.checkKey(ctx); err != nil {
		return []error{err}
	}
	secret := []byte("kedge preflight")
	sealed, err := s.Seal(ctx, "preflight", secret)
	if err != nil {
		return []error{nil, err}
	}
	opened, err := s.Open(ctx, "preflight", sealed)
	if err == nil && !bytes.Equal(opened, secret) {
		err = fmt.Errorf("what was opened is not what was sealed")
	}
	return []error{nil, nil, err}
}

func preflightName() (string, error) {
	var b [8]byte
	if err := fips.Random(b[:]); err != nil {
		return "", err
	}
	return "intermediate-preflight-" + hex.EncodeToString(b[:]), nil
}
