package main

import (
	"context"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// externalPatience bounds the question for a version: a report does not wait for
// an outage.
const externalPatience = 3 * time.Second

// externalModules are what signs or seals for this server outside its process. Who
// vouches for them is the operator: a version is what the other side says of itself.
func (s *server) externalModules(ctx context.Context) []fips.ExternalModule {
	var modules []fips.ExternalModule
	add := func(role, kind, version string) {
		modules = append(modules, fips.ExternalModule{Role: role, Kind: kind, Version: version, Assertion: "operator"})
	}
	version := ""
	if s.outside.vault != nil {
		version = s.vaultVersion(ctx)
	}
	switch s.config.Root.Type {
	case rootVaultPKI, rootVaultTransit:
		add("root", s.config.Root.Type, version)
	case rootUpstream:
		add("root", rootUpstream, "see ca-upstream fips")
	}
	switch {
	case s.config.Keys.Store == keysVaultTransit:
		add("intermediate keys", keysVaultTransit, version)
	case s.config.Keys.Store == keysUpstream:
		add("intermediate keys", keysUpstream, "see ca-upstream fips")
	case s.config.Keys.KEK != kekConfig{}:
		add("key-encryption key", "vault-transit", version)
	}
	return modules
}

func (s *server) vaultVersion(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, externalPatience)
	defer cancel()
	h, err := s.outside.vault.Health(ctx)
	if err != nil {
		return "not reached"
	}
	return h.Version
}
