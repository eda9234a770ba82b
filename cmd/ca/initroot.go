package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	transit "github.com/kedge-ca/kedge/ca/keystore/vault"
	"github.com/kedge-ca/kedge/ca/root/local"
	vaultroot "github.com/kedge-ca/kedge/ca/root/vault"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// Where a root in Vault comes from.
const (
	rootFromCreate   = "create"
	rootFromExisting = "existing"
	rootFromImport   = "import"
)

// vaultInitOptions are the flags of ca init for a root, or keys, in Vault.
type vaultInitOptions struct {
	setupTokenFile string
	from           string
	importFile     string
	name           string // of the issuer or the key
}

// flags adds the flags; most of them are keys of the configuration that is written.
func (o *vaultInitOptions) flags(f *pflag.FlagSet, c *config) {
	f.StringVar(&c.Root.Type, "root", rootLocal, "where the root is: local, vault-pki, vault-transit or upstream")
	f.StringVar(&c.Root.Mount, "root-mount", "", "mount of Vault's engine (default pki or transit)")
	f.StringVar(&o.name, "root-name", "", "name of the issuer or key in Vault (default kedge-root)")
	f.StringVar(&o.from, "root-from", rootFromCreate, "create a root in Vault, use an existing one, or import one")
	f.StringVar(&o.importFile, "root-import-file", "", "PEM of the certificate and its key, for --root-from import")
	f.StringVar(&o.setupTokenFile, "vault-setup-token-file", "", "file with a Vault token that may make the root; it is used once")
	f.StringVar(&c.Keys.Store, "keys-store", keysFile, "where the intermediates' keys are: file, vault-transit or upstream")
	f.StringVar(&c.Upstream.Socket, "upstream-socket", "", "socket of ca-upstream, for --root upstream and --keys-store upstream")
	f.IntVar(&c.Upstream.UID, "upstream-uid", c.Upstream.UID, "user id that ca-upstream runs as; -1 is this user")
	f.StringVar(&c.Keys.Mount, "keys-mount", "", "mount of the transit engine, for --keys-store vault-transit")
	f.StringVar(&c.Keys.Prefix, "keys-prefix", "", "prefix of the keys' names there; each replica needs one of its own")
	f.StringVar(&c.Keys.KEK.Mount, "kek-mount", "", "mount of the transit engine whose key seals the intermediates' keys")
	f.StringVar(&c.Keys.KEK.Key, "kek-key", "", "key (aes256-gcm96) that seals the intermediates' keys, instead of a passphrase")
	f.BoolVar(&c.FIPS.RequireExternal, "fips-require-external", false, "refuse a Vault whose version names no FIPS build")
	vaultFlags(f, &c.Vault)
}

// vaultFlags are the flags of a connection, for every command that makes one.
func vaultFlags(f *pflag.FlagSet, v *vaultConfig) {
	f.StringVar(&v.Address, "vault-address", "", "https://host:port of Vault")
	f.StringVar(&v.Namespace, "vault-namespace", "", "namespace in Vault")
	f.StringVar(&v.CAFile, "vault-ca-file", "", "PEM of the authorities of Vault's own certificate")
	f.StringVar(&v.ServerName, "vault-server-name", "", "name in Vault's certificate (default the host of the address)")
	f.StringVar(&v.Login.Type, "vault-login", "", "token-file, approle, kubernetes, jwt or certificate (default by the other flags)")
	f.StringVar(&v.Login.Mount, "vault-login-mount", "", "mount of the login below auth/ (default by type)")
	f.StringVar(&v.Login.Role, "vault-role", "", "role of a kubernetes, jwt or certificate login")
	f.StringVar(&v.Login.RoleID, "vault-role-id", "", "role id of an approle login")
	f.StringVar(&v.Login.SecretIDFile, "vault-secret-id-file", "", "file with the secret id of an approle login")
	f.StringVar(&v.Login.TokenFile, "vault-token-file", "", "file with a token, or with the JWT of a kubernetes or jwt login")
	f.StringVar(&v.Login.CertFile, "vault-cert-file", "", "client certificate of a certificate login")
	f.StringVar(&v.Login.KeyFile, "vault-key-file", "", "its key")
}

// chooseLogin names the login that the flags given can mean.
func (v *vaultConfig) chooseLogin() {
	switch l := &v.Login; {
	case l.Type != "":
	case l.RoleID != "":
		l.Type = string(vault.LoginAppRole)
	case l.CertFile != "":
		l.Type = string(vault.LoginCertificate)
	case l.TokenFile != "":
		l.Type = string(vault.LoginToken)
	}
}

// complete chooses the defaults of a root in Vault.
func (o *vaultInitOptions) complete(c *config) error {
	c.Vault.chooseLogin()
	setIfEmpty(&o.from, rootFromCreate)
	switch c.Root.Type {
	case rootVaultPKI:
		setIfEmpty(&c.Root.Mount, "pki")
		setIfEmpty(&o.name, "kedge-root")
		c.Root.Issuer = o.name
	case rootVaultTransit:
		setIfEmpty(&c.Root.Mount, "transit")
		setIfEmpty(&o.name, "kedge-root")
		c.Root.Key, c.Root.KeyVersion = o.name, 1
		if o.from == rootFromImport {
			return fmt.Errorf("--root-from import: a transit key is created or there already, and its certificate is made with it")
		}
	default:
		if o.name != "" || o.importFile != "" || o.from != rootFromCreate {
			return fmt.Errorf("--root-name, --root-from and --root-import-file are for a root in Vault")
		}
		return nil
	}
	switch o.from {
	case rootFromCreate, rootFromExisting:
		if o.importFile != "" {
			return fmt.Errorf("--root-import-file is for --root-from import")
		}
	case rootFromImport:
		if o.importFile == "" {
			return fmt.Errorf("--root-from import needs --root-import-file")
		}
	default:
		return fmt.Errorf("--root-from %q is none of create, existing, import", o.from)
	}
	return nil
}

func setIfEmpty(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// paths are the flags that name files.
func (o *vaultInitOptions) paths(c *config) []*string {
	l := &c.Vault.Login
	return []*string{&o.setupTokenFile, &o.importFile, &c.Upstream.Socket, &c.Vault.CAFile, &l.SecretIDFile, &l.TokenFile, &l.CertFile, &l.KeyFile}
}

// rootRequest is what the roots shall be.
type rootRequest struct {
	domain ca.TrustDomain
	policy fips.Policy
	now    time.Time
}

// makeRoots makes the active root where it shall be and the standby in a sealed
// file. What was made is never unmade: a failure afterwards names it.
func (a *app) makeRoots(ctx context.Context, o *initOptions, r rootRequest) ([]ca.Anchor, error) {
	standbySealer, err := a.sealer(o.standby)
	if err != nil {
		return nil, fmt.Errorf("standby: %w", err)
	}
	files := local.InitConfig{
		Dir: o.config.Root.Dir, StandbyDir: o.standbyDir, StandbySealer: standbySealer,
		TrustDomain: r.domain, KeyType: fips.KeyType(o.config.Keys.Type), Policy: r.policy, Now: r.now,
	}
	if o.config.Root.Type == rootLocal {
		if files.Sealer, err = a.sealer(o.config.Root.Passphrase); err != nil {
			return nil, fmt.Errorf("root: %w", err)
		}
		return local.Init(ctx, files)
	}
	makeActive := a.makeVaultRoot
	if o.config.Root.Type == rootUpstream {
		makeActive = a.findUpstreamRoot
	}
	active, err := makeActive(ctx, o, r)
	if err != nil {
		return nil, err
	}
	standby, err := local.InitStandby(ctx, files)
	if err != nil {
		return nil, err
	}
	return []ca.Anchor{{Certificate: active, Slot: ca.SlotActive}, standby}, nil
}

// vaultPlace is where ca init makes, imports or finds a root in Vault.
type vaultPlace struct {
	client  *vault.Client
	pki     *vaultroot.PKI // nil for a transit key
	transit transit.KeyConfig
}

// openVaultPlace connects with the token for setting up, where there is one.
func (a *app) openVaultPlace(o *initOptions, policy fips.Policy) (*vaultPlace, error) {
	setup := o.config
	if o.vault.setupTokenFile != "" {
		setup.Vault.Login = vaultLoginConfig{Type: string(vault.LoginToken), TokenFile: o.vault.setupTokenFile}
	}
	outside, err := a.connect(setup, nil)
	if err != nil {
		return nil, err
	}
	root := o.config.Root
	if root.Type == rootVaultTransit {
		return &vaultPlace{client: outside.vault, transit: transit.KeyConfig{Client: outside.vault, Mount: root.Mount, Name: root.Key, Version: root.KeyVersion}}, nil
	}
	pki, err := vaultroot.NewPKI(vaultroot.PKIConfig{Client: outside.vault, Mount: root.Mount, Issuer: root.Issuer, Policy: policy})
	return &vaultPlace{client: outside.vault, pki: pki}, err
}

// checkPlace finds what would stop the making of a root elsewhere, the signing of the
// first intermediate under it or the keeping of its key, before anything is made
// anywhere.
func (a *app) checkPlace(ctx context.Context, o *initOptions, r rootRequest) error {
	switch o.config.Root.Type {
	case rootLocal:
	case rootUpstream:
		if _, err := a.findUpstreamRoot(ctx, o, r); err != nil {
			return err
		}
	default:
		place, err := a.openVaultPlace(o, r.policy)
		if err != nil {
			return err
		}
		if err := place.check(ctx, o, a.newRoot(o, r)); err != nil {
			return err
		}
	}
	if !o.config.usesVault() {
		return nil
	}
	backends, err := a.openVaultBackends(o.config)
	if err != nil {
		return err
	}
	return backends.permitted(ctx)
}

// check looks with the rights of whoever sets up.
func (p *vaultPlace) check(ctx context.Context, o *initOptions, n vaultroot.NewRoot) error {
	switch {
	case p.pki == nil && o.vault.from == rootFromExisting:
		_, err := vaultroot.FitTransit(ctx, p.transit, n)
		return err
	case p.pki == nil:
		return vaultroot.VacantTransit(ctx, p.transit)
	case o.vault.from == rootFromExisting:
		_, err := p.pki.Use(ctx, n)
		return err
	case o.vault.from == rootFromImport:
		if err := readable(o.vault.importFile); err != nil {
			return err
		}
	}
	if err := p.client.LogIn(ctx); err != nil {
		return fmt.Errorf("the token for setting up: %w", err)
	}
	return p.pki.Vacant(ctx)
}

func readable(path string) error {
	raw, err := secretfile.Read(path, maxImport)
	clear(raw)
	if err != nil {
		return fmt.Errorf("reading the root to import: %w", err)
	}
	return nil
}

func (a *app) newRoot(o *initOptions, r rootRequest) vaultroot.NewRoot {
	return vaultroot.NewRoot{TrustDomain: r.domain, KeyType: fips.KeyType(o.config.Keys.Type), Now: r.now, Policy: r.policy}
}

// makeVaultRoot makes, imports or finds the root in Vault.
func (a *app) makeVaultRoot(ctx context.Context, o *initOptions, r rootRequest) (*x509.Certificate, error) {
	place, err := a.openVaultPlace(o, r.policy)
	if err != nil {
		return nil, err
	}
	n := a.newRoot(o, r)
	if place.pki == nil {
		makeRoot := vaultroot.CreateTransit
		if o.vault.from == rootFromExisting {
			makeRoot = vaultroot.UseTransit
		}
		cert, err := makeRoot(ctx, place.transit, n)
		if err != nil {
			return nil, err
		}
		return cert, local.KeepCertificate(o.config.Root.Dir, cert)
	}
	switch o.vault.from {
	case rootFromExisting:
		return place.pki.Use(ctx, n)
	case rootFromImport:
		bundle, err := secretfile.Read(o.vault.importFile, maxImport)
		if err != nil {
			return nil, fmt.Errorf("reading the root to import: %w", err)
		}
		defer clear(bundle)
		return place.pki.Import(ctx, bundle, n)
	}
	return place.pki.Create(ctx, n)
}

// findUpstreamRoot asks ca-upstream for the root that it has.
func (a *app) findUpstreamRoot(ctx context.Context, o *initOptions, r rootRequest) (*x509.Certificate, error) {
	outside, err := a.connect(o.config, nil)
	if err != nil {
		return nil, err
	}
	defer outside.close() //nolint:errcheck // nothing is in flight any more
	root, err := a.openRoot(o.config.Root, r.policy, outside)
	if err != nil {
		return nil, err
	}
	return root.Anchor(ctx)
}

// maxImport is far above a certificate and an RSA-4096 key.
const maxImport = 64 << 10
