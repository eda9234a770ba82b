package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// Preflight makes a key, has it sign and destroys it.
func (s *Store) Preflight(ctx context.Context) []ca.Finding {
	rules := s.Rules()
	name, err := preflightName()
	if err != nil {
		return []ca.Finding{vault.Failed("root-permissions", rules[0].Path, err, "ca fips")}
	}
	key, err := s.Create(ctx, name)
	if err != nil {
		return []ca.Finding{vault.Permission(rules[0], err)}
	}
	scheme, err := fips.SchemeFor(key.Public())
	if err == nil {
		_, err = fips.Sign(key, scheme, []byte("kedge preflight: this is no certificate"))
	}
	sign := vault.Permission(rules[1], err)
	return []ca.Finding{vault.Permission(rules[0], s.Destroy(ctx, name)), sign}
}

// Preflight seals and opens a few bytes.
func (s *Sealer) Preflight(ctx context.Context) []ca.Finding {
	rules := s.Rules()
	if err := s.checkKey(ctx); err != nil {
		return []ca.Finding{vault.Permission(rules[0], err)}
	}
	findings := []ca.Finding{vault.Permission(rules[0], nil)}
	secret := []byte("kedge preflight")
	sealed, err := s.Seal(ctx, "preflight", secret)
	findings = append(findings, vault.Permission(rules[1], err))
	if err != nil {
		return findings
	}
	opened, err := s.Open(ctx, "preflight", sealed)
	if err == nil && !bytes.Equal(opened, secret) {
		err = fmt.Errorf("what was opened is not what was sealed")
	}
	return append(findings, vault.Permission(rules[2], err))
}

func preflightName() (string, error) {
	var b [8]byte
	if err := fips.Random(b[:]); err != nil {
		return "", err
	}
	return "intermediate-preflight-" + hex.EncodeToString(b[:]), nil
}
