package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/ca/root/local"
	"github.com/kedge-ca/kedge/ca/store/sqlite"
	"github.com/kedge-ca/kedge/fips"
)

// instance is everything of a server but its listeners: stores, keys, authority.
type instance struct {
	config    config
	module    *fips.Module
	store     *sqlite.Store
	custodian *ca.Custodian
	authority *ca.Authority
	current   atomic.Pointer[authn.Authenticator] // a reload replaces it
	serving   *servingCertificate
	upkeep    *upkeep
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
	db := filepath.Join(i.config.DataDir, "db")
	if _, err := os.Lstat(db); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no authority in %s: make one with ca init, or restore %s from a backup", i.config.DataDir, db)
	}
	root, err := a.findRoot(i.config, i.module.Policy(), log)
	if err != nil {
		return err
	}
	if i.store, err = sqlite.Open(sqlite.Config{Dir: db}); err != nil {
		return err
	}
	if i.custodian, err = a.openCustodian(i.config, i.module.Policy(), i.store, root); err != nil {
		return err
	}
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
	i.upkeep = &upkeep{custodian: i.custodian, authority: i.authority, serving: i.serving, now: a.now, log: log}
	return nil
}

// openCustodian opens the keys, and the custodian over them.
func (a *app) openCustodian(cfg config, policy fips.Policy, store *sqlite.Store, root ca.Root) (*ca.Custodian, error) {
	domain, err := cfg.domain()
	if err != nil {
		return nil, err
	}
	keySealer, err := a.sealer(cfg.Keys.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("keys.passphrase: %w", err)
	}
	keys, err := file.New(file.Config{Dir: filepath.Join(cfg.DataDir, "keys"), Sealer: keySealer, KeyType: fips.KeyType(cfg.Keys.Type)})
	if err != nil {
		return nil, err
	}
	return ca.NewCustodian(ca.CustodianConfig{
		TrustDomain: domain, Root: root, Keys: keys, State: store, Events: store,
		Policy: policy, Lifetime: time.Duration(cfg.Intermediate.Lifetime),
	})
}

// findRoot is the root of a server that starts. One that is not there stops no
// start: issuing goes on while the intermediate lives, and the root may come back.
// One that is there and suspicious does.
func (a *app) findRoot(cfg config, policy fips.Policy, log *slog.Logger) (ca.Root, error) {
	root, err := a.openRoot(cfg, policy)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Error("the root is not there; issuing goes on while the intermediate lives", "error", err)
		return absentRoot{func() (*local.Root, error) { return a.openRoot(cfg, policy) }}, nil
	case err != nil:
		return nil, err
	}
	return root, nil
}

// absentRoot looks for the root at each call.
type absentRoot struct{ open func() (*local.Root, error) }

func (r absentRoot) Anchor(ctx context.Context) (*x509.Certificate, error) {
	root, err := r.open()
	if err != nil {
		return nil, err
	}
	return root.Anchor(ctx)
}

func (r absentRoot) SignIntermediate(ctx context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	root, err := r.open()
	if err != nil {
		return nil, err
	}
	return root.SignIntermediate(ctx, csr, p)
}

func (a *app) openRoot(cfg config, policy fips.Policy) (*local.Root, error) {
	sealer, err := a.sealer(cfg.Root.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("root.passphrase: %w", err)
	}
	root, err := local.Open(local.Config{Dir: cfg.Root.Dir, Sealer: sealer, Policy: policy})
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	return root, nil
}

func (a *app) sealer(p passphraseConfig) (file.Sealer, error) {
	passphrase, err := file.Passphrase(file.PassphraseSource{File: p.File, Env: p.Env, Credential: p.Credential}, a.getenv)
	if err != nil {
		return nil, err
	}
	return file.NewPassphraseSealer(passphrase)
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
	if i.store != nil {
		return i.store.Close()
	}
	return nil
}
