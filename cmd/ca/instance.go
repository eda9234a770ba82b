package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/fips"
)

// instance is everything of a server but its listeners: stores, keys, authority.
type instance struct {
	config    config
	module    *fips.Module
	store     store.Durable
	custodian *ca.Custodian
	authority *ca.Authority
	current   atomic.Pointer[authn.Authenticator] // a reload replaces it
	serving   *servingCertificate
	upkeep    *upkeep
	following *following

	outside      *outside
	vaultMetrics *vaultMetrics
}

// openInstance opens what cfg describes. Nothing is made that should be there
// already: that is what ca init is for.
func (a *app) openInstance(cfg config, module *fips.Module, log *slog.Logger) (*instance, error) {
	i := &instance{config: cfg, module: module}
	if err := i.open(a, log); err != nil {
		return nil, errors.Join(err, i.close())
	}
	return i, nil
}

func (i *instance) open(a *app, log *slog.Logger) error {
	policy, err := i.config.buildPolicy()
	if err != nil {
		return err
	}
	if i.config.isZone() {
		if err := makeZoneDir(i.config); err != nil {
			return err
		}
	} else if err := i.config.refuseMissingStore(); err != nil {
		return err
	}
	i.vaultMetrics = newVaultMetrics()
	if i.outside, err = a.connect(i.config, i.vaultMetrics.observe); err != nil {
		return err
	}
	roots, err := a.findRoots(i.config, i.module.Policy(), i.outside, log)
	if err != nil {
		return err
	}
	keys, err := a.openKeys(i.config, i.module.Policy(), i.outside)
	if err != nil {
		return err
	}
	if i.store, err = i.config.openStore(log); err != nil {
		return err
	}
	if err := i.openFollowing(a, log, keys, roots); err != nil {
		return err
	}
	if i.custodian, err = openCustodian(i.config, i.module.Policy(), i.store, i.following.rootFor, keys); err != nil {
		return err
	}
	i.following.use(i.custodian)
	i.authority, err = ca.NewAuthority(ca.AuthorityConfig{
		FIPS: i.module.Policy(), Policy: policy, Recorder: i.store, Now: a.now, Gate: i.module.Err,
	})
	if err != nil {
		return err
	}
	authnConfig, err := i.config.buildAuthn(i.store, a.now)
	if err != nil {
		return err
	}
	authenticator, err := authn.New(authnConfig)
	if err != nil {
		return fmt.Errorf("authentication: %w", err)
	}
	i.current.Store(authenticator)
	server, err := i.config.serverIdentity()
	if err != nil {
		return err
	}
	i.serving = &servingCertificate{authority: i.authority, identity: server, now: a.now}
	i.upkeep = &upkeep{custodian: i.custodian, authority: i.authority, serving: i.serving, tokens: i.store, reissue: i.config.Limits.ReissueRate, now: a.now, log: log}
	return nil
}

// openCustodian makes the custodian over roots, keys and state.
func openCustodian(cfg config, policy fips.Policy, opened store.Durable, roots ca.RootFor, keys ca.KeyStore) (*ca.Custodian, error) {
	domain, err := cfg.domain()
	if err != nil {
		return nil, err
	}
	return ca.NewCustodian(ca.CustodianConfig{
		TrustDomain: domain, Roots: roots, Keys: keys, State: opened, Events: opened,
		Policy: policy, Lifetime: time.Duration(cfg.Intermediate.Lifetime),
	})
}

// remember tells the authority which keys have live certificates.
func (i *instance) remember(ctx context.Context, now time.Time) error {
	err := i.store.LiveKeys(ctx, now, func(key ca.LiveKey) error {
		i.authority.Remember(key)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading live keys: %w", err)
	}
	return nil
}

func (i *instance) close() error {
	if current := i.current.Load(); current != nil {
		current.Close()
	}
	err := errors.Join(i.following.close(), i.outside.close())
	if i.store != nil {
		err = errors.Join(err, i.store.Close())
	}
	return err
}
