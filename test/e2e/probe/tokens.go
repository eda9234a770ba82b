package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/api/authn/devissuer"
)

// makeTokens writes the key set of an issuer of its own and tokens by it; the
// issuer's URL is devissuer.URL. Its key dies with this process.
func makeTokens(_ context.Context, o options) error {
	issuer, err := devissuer.New()
	if err != nil {
		return err
	}
	stranger, err := devissuer.New()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.dir, "jwks.json"), issuer.JWKS(), 0o600); err != nil {
		return err
	}
	now := time.Now()
	account := func(namespace, name, audience string) devissuer.ServiceAccount {
		return devissuer.ServiceAccount{Namespace: namespace, Name: name, Audience: audience, TTL: 12 * time.Hour}
	}
	for _, t := range []struct {
		name    string
		issuer  *devissuer.Issuer
		account devissuer.ServiceAccount
		now     time.Time
	}{
		{"good", issuer, account("default", "default", "istio-ca"), now},
		{"other-workload", issuer, account("prod", "payments", "istio-ca"), now},
		{"wrong-audience", issuer, account("default", "default", "vault"), now},
		{"expired", issuer, account("default", "default", "istio-ca"), now.Add(-13 * time.Hour)},
		{"not-yet-valid", issuer, account("default", "default", "istio-ca"), now.Add(time.Hour)},
		{"linkerd", issuer, account("default", "default", "identity.l5d.io"), now},
		{"linkerd-other", issuer, account("prod", "payments", "identity.l5d.io"), now},
		{"linkerd-long", issuer, account("default", strings.Repeat("a", 63), "identity.l5d.io"), now},
		{"linkerd-expired", issuer, account("default", "default", "identity.l5d.io"), now.Add(-13 * time.Hour)},
		{"linkerd-unknown-key", stranger, account("default", "default", "identity.l5d.io"), now},
		{"unknown-key", stranger, account("default", "default", "istio-ca"), now},
	} {
		token, err := t.issuer.Token(t.account, t.now)
		if err != nil {
			return fmt.Errorf("token %s: %w", t.name, err)
		}
		if err := os.WriteFile(filepath.Join(o.dir, t.name), []byte(token), 0o600); err != nil {
			return err
		}
	}
	return nil
}
