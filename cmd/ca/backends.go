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

	"google.golang.org/grpc"

	upstreamv1 "github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	upstreamkeys "github.com/kedge-ca/kedge/ca/keystore/upstream"
	transit "github.com/kedge-ca/kedge/ca/keystore/vault"
	"github.com/kedge-ca/kedge/ca/root/local"
	upstreamroot "github.com/kedge-ca/kedge/ca/root/upstream"
	vaultroot "github.com/kedge-ca/kedge/ca/root/vault"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// outside are the connections to what holds root and keys elsewhere; nil where
// nothing is there.
type outside struct {
	vault    *vault.Client
	upstream *grpc.ClientConn
}

// connect makes the connections that cfg needs. It asks no server.
func (a *app) connect(cfg config, observe func(vault.Observation)) (*outside, error) {
	var o outside
	var err error
	if cfg.usesVault() {
		c := cfg.vaultClientConfig(a.now)
		c.Observe = observe
		if o.vault, err = vault.New(c); err != nil {
			return nil, err
		}
	}
	if cfg.usesUpstream() {
		uid := cfg.Upstream.UID
		if uid < 0 {
			uid = os.Geteuid()
		}
		if o.upstream, err = upstream.Dial(upstream.DialConfig{Socket: cfg.Upstream.Socket, Servers: []uint32{uint32(uid)}}); err != nil {
			return nil, err
		}
	}
	return &o, nil
}

func (o *outside) close() error {
	if o == nil || o.upstream == nil {
		return nil
	}
	return o.upstream.Close()
}

// openRoot opens a root. One that is elsewhere is not asked anything.
func (a *app) openRoot(cfg rootConfig, policy fips.Policy, o *outside) (ca.Root, error) {
	switch cfg.Type {
	case rootVaultPKI, rootVaultTransit:
		return a.openRootInVault(cfg, policy, o.vault)
	case rootUpstream:
		return upstreamroot.New(upstreamroot.Config{Client: upstreamv1.NewUpstreamClient(o.upstream), Policy: policy})
	}
	sealer, err := a.sealer(cfg.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("root's passphrase: %w", err)
	}
	root, err := local.Open(local.Config{Dir: cfg.Dir, Sealer: sealer, Policy: policy})
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	return root, nil
}

// openRootInVault opens the root in Vault; nil where the root is not there.
func (a *app) openRootInVault(cfg rootConfig, policy fips.Policy, v *vault.Client) (ca.Root, error) {
	switch cfg.Type {
	case rootVaultPKI:
		return vaultroot.NewPKI(vaultroot.PKIConfig{Client: v, Mount: cfg.Mount, Issuer: cfg.Issuer, Policy: policy})
	case rootVaultTransit:
		return vaultroot.NewTransit(vaultroot.TransitConfig{
			Client: v, Mount: cfg.Mount, Key: cfg.Key, Version: cfg.KeyVersion, Policy: policy,
			Anchor: func() (*x509.Certificate, error) { return local.ReadCertificate(cfg.Dir) },
		})
	}
	return nil, nil
}

// openKeys opens the store of the intermediates' keys.
func (a *app) openKeys(cfg config, policy fips.Policy, o *outside) (ca.KeyStore, error) {
	kind := fips.KeyType(cfg.Keys.Type)
	switch cfg.Keys.Store {
	case keysVaultTransit:
		return transit.NewStore(transit.StoreConfig{Client: o.vault, Mount: cfg.Keys.Mount, Prefix: cfg.Keys.Prefix, KeyType: kind})
	case keysUpstream:
		return upstreamkeys.New(upstreamkeys.Config{Client: upstreamv1.NewUpstreamClient(o.upstream), Policy: policy})
	}
	sealer, err := a.keySealer(cfg, o.vault)
	if err != nil {
		return nil, err
	}
	return file.New(file.Config{Dir: filepath.Join(cfg.DataDir, "keys"), Sealer: sealer, KeyType: kind})
}

func (a *app) keySealer(cfg config, v *vault.Client) (file.Sealer, error) {
	if kek := cfg.Keys.KEK; kek != (kekConfig{}) {
		return transit.NewSealer(transit.SealerConfig{Client: v, Mount: kek.Mount, Key: kek.Key})
	}
	sealer, err := a.sealer(cfg.Keys.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("keys.passphrase: %w", err)
	}
	return sealer, nil
}

func (a *app) sealer(p passphraseConfig) (file.Sealer, error) {
	passphrase, err := file.Passphrase(file.PassphraseSource{File: p.File, Env: p.Env, Credential: p.Credential}, a.getenv)
	if err != nil {
		return nil, err
	}
	return file.NewPassphraseSealer(passphrase)
}

// findRoots are the roots of a server that starts: that of the anchor that signs, and
// that of the one which shall.
func (a *app) findRoots(cfg config, policy fips.Policy, o *outside, log *slog.Logger) ([]ca.Root, error) {
	var roots []ca.Root
	for _, root := range []rootConfig{cfg.Root, cfg.NextRoot} {
		if root == (rootConfig{}) {
			continue
		}
		found, err := a.findRoot(root, policy, o, log)
		if err != nil {
			return nil, err
		}
		roots = append(roots, found)
	}
	return roots, nil
}

// findRoot is one of them. One that is not there stops no start: issuing goes on while
// the intermediate lives, and the root may come back. One that is there and suspicious
// does.
func (a *app) findRoot(cfg rootConfig, policy fips.Policy, o *outside, log *slog.Logger) (ca.Root, error) {
	root, err := a.openRoot(cfg, policy, o)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Error("the root is not there; issuing goes on while the intermediate lives", "error", err)
		return absentRoot{func() (ca.Root, error) { return a.openRoot(cfg, policy, o) }}, nil
	case err != nil:
		return nil, err
	}
	return root, nil
}

// absentRoot looks for the root at each call.
type absentRoot struct{ open func() (ca.Root, error) }

// Anchor implements ca.Root.
func (r absentRoot) Anchor(ctx context.Context) (*x509.Certificate, error) {
	root, err := r.open()
	if err != nil {
		return nil, err
	}
	return root.Anchor(ctx)
}

// SignIntermediate implements ca.Root.
func (r absentRoot) SignIntermediate(ctx context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	root, err := r.open()
	if err != nil {
		return nil, err
	}
	return root.SignIntermediate(ctx, csr, p)
}
