package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/fips"
)

// initOptions are the flags of ca init.
type initOptions struct {
	config     config
	configPath string
	standbyDir string
	standby    passphraseConfig
	vault      vaultInitOptions
	secretsDir string   // generate missing passphrases here
	generate   []string // the passphrase files to make
}

func newInitCommand(a *app) *cobra.Command {
	o := &initOptions{config: defaultConfig()}
	var keyType string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a root, a standby root and the first intermediate",
		Long: `Makes a self-signed root (10 years), a standby root beside it that is published
and never signs, and the first intermediate (7 days), stores them sealed, and
writes a configuration for ca serve. It refuses where anything is there already.

Move the standby's directory and its passphrase away afterwards: it is needed
only when the active root is lost or compromised.

With --root vault-pki or vault-transit the root's key is made in Vault and never
leaves it, or is one that is there (--root-from existing), or is given to it
(--root-from import). --vault-setup-token-file holds a token that may make it; the
server itself gets the login of the other flags, which needs no more than what
ca vault policy prints.`,
		Example: `  ca init --trust-domain example.org --data-dir /var/lib/kedge \
    --generate-passphrases /etc/kedge/secrets --config /etc/kedge/ca.yaml
  ca init --trust-domain example.org --root vault-pki --vault-address https://vault:8200 \
    --vault-ca-file /etc/kedge/vault-ca.pem --vault-role-id ID --vault-secret-id-file /etc/kedge/secret-id \
    --vault-setup-token-file ./setup-token --generate-passphrases /etc/kedge/secrets --config /etc/kedge/ca.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config.Keys.Type = keyType
			return a.initialise(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.config.TrustDomain, "trust-domain", "", "SPIFFE trust domain, such as example.org (required)")
	f.StringVar(&o.config.DataDir, "data-dir", o.config.DataDir, "directory of the database and the keys")
	f.StringVar(&o.config.Root.Dir, "root-dir", "", "directory of the active root (default DATA-DIR/root)")
	f.StringVar(&o.standbyDir, "standby-dir", "", "directory of the standby root (default DATA-DIR/standby)")
	f.StringVar(&keyType, "key-type", "", "ecdsa-p256, ecdsa-p384, rsa-3072 or rsa-4096 (default by --fips-profile)")
	f.StringVar(&o.config.FIPS.Profile, "fips-profile", "fips", "fips, fips-2031 or cnsa1")
	f.StringVar(&o.config.Root.Passphrase.File, "root-passphrase-file", "", "file with the passphrase of the active root")
	f.StringVar(&o.standby.File, "standby-passphrase-file", "", "file with the passphrase of the standby root")
	f.StringVar(&o.config.Keys.Passphrase.File, "keys-passphrase-file", "", "file with the passphrase of the intermediates' keys")
	f.StringVar(&o.secretsDir, "generate-passphrases", "", "make the passphrase files that were not given, in this directory")
	f.StringVar(&o.configPath, "config", "", "where to write the configuration (default DATA-DIR/ca.yaml)")
	f.StringVar(&o.config.Listen, "listen", o.config.Listen, "address of the TLS port, for the configuration")
	o.vault.flags(f, &o.config)
	f.StringVar(&o.config.Store.Type, "store", storeSQLite, "sqlite, or postgres for several servers")
	f.StringVar(&o.config.Store.URL, "store-url", "", "postgres://user@host/database, without a password")
	f.StringVar(&o.config.Store.URLFile, "store-url-file", "", "file with the URL, where it has a password")
	f.StringVar(&o.config.Store.Replica, "replica", "", "name of this server among the replicas (default the host's name)")
	f.StringSliceVar(&o.config.ServerNames, "server-name", nil, "host name or address that proxies use, for the configuration")
	return cmd
}

// initialise makes everything and prints what it made.
func (a *app) initialise(ctx context.Context, o *initOptions) error {
	if err := o.complete(); err != nil {
		return err
	}
	if err := harden(); err != nil { // root keys pass through
		return err
	}
	module, err := a.startModule(o.config)
	if err != nil {
		return err
	}
	supply, err := a.makeAuthority(ctx, o, module.Policy())
	if err != nil {
		return err
	}
	if err := o.writeConfig(); err != nil {
		return err
	}
	return a.printInitialised(o, supply)
}

// complete fills in what follows from other flags, makes paths absolute, as the
// configuration wants them, and refuses what cannot work. It makes nothing.
func (o *initOptions) complete() error {
	if err := o.vault.complete(&o.config); err != nil {
		return err
	}
	paths := []*string{&o.config.DataDir, &o.config.Root.Dir, &o.standbyDir, &o.configPath, &o.secretsDir, &o.config.Store.URLFile,
		&o.config.Root.Passphrase.File, &o.standby.File, &o.config.Keys.Passphrase.File}
	for _, path := range append(paths, o.vault.paths(&o.config)...) {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	o.config.fillPaths()
	if o.standbyDir == "" {
		o.standbyDir = filepath.Join(o.config.DataDir, "standby")
	}
	if o.configPath == "" {
		o.configPath = filepath.Join(o.config.DataDir, "ca.yaml")
	}
	for _, path := range []string{o.configPath, filepath.Join(o.config.DataDir, "db"), o.config.Root.Dir, o.standbyDir} {
		if path == "" { // a root whose certificate Vault keeps
			continue
		}
		if err := refuseToOverwrite(path); err != nil {
			return err
		}
	}
	if err := o.namePassphrases(); err != nil {
		return err
	}
	if problems := o.config.problems(); len(problems) > 0 {
		return fmt.Errorf("%s: %s", problems[0].path, problems[0].text)
	}
	return nil
}

// namePassphrases chooses the passphrase files that no flag names.
func (o *initOptions) namePassphrases() error {
	for _, file := range []struct {
		name   string
		path   *string
		needed bool
	}{
		{"root-passphrase", &o.config.Root.Passphrase.File, o.config.Root.Type == rootLocal},
		{"standby-passphrase", &o.standby.File, true},
		{"keys-passphrase", &o.config.Keys.Passphrase.File, o.config.Keys.Store == keysFile && o.config.Keys.KEK == kekConfig{}},
	} {
		if *file.path != "" || !file.needed {
			continue
		}
		if o.secretsDir == "" {
			return fmt.Errorf("no %s file: give --%s-file, or --generate-passphrases DIR", file.name, file.name)
		}
		*file.path = filepath.Join(o.secretsDir, file.name)
		if err := refuseToOverwrite(*file.path); err != nil {
			return err
		}
		o.generate = append(o.generate, *file.path)
	}
	return nil
}

func refuseToOverwrite(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s is there already; ca init never overwrites: choose another place, or remove it if it is of no use", path)
	}
	return nil
}

// makeDirs makes the directories that hold secrets, and those above everything
// else, so that nothing is half made for want of one. The private ones come first:
// other files may be inside them.
func (o *initOptions) makeDirs() error {
	private := []string{o.config.DataDir}
	if len(o.generate) > 0 {
		private = append(private, o.secretsDir)
	}
	for _, dir := range private {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		if err := secretfile.MakeDir(dir); err != nil {
			return err
		}
	}
	for _, path := range []string{o.configPath, o.config.Root.Dir, o.standbyDir} {
		if path == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// generatePassphrases makes the files that namePassphrases chose.
func (o *initOptions) generatePassphrases() error {
	for _, path := range o.generate {
		passphrase, err := newPassphrase()
		if err != nil {
			return err
		}
		if err := secretfile.Create(path, passphrase); err != nil {
			return fmt.Errorf("generating passphrases: %w", err)
		}
	}
	return nil
}

// makeAuthority makes passphrases, roots, database and first intermediate, in this
// order, so that a failure leaves nothing that looks finished.
func (a *app) makeAuthority(ctx context.Context, o *initOptions, policy fips.Policy) (ca.Supply, error) {
	domain, err := o.config.domain()
	if err != nil {
		return ca.Supply{}, err
	}
	request := rootRequest{domain: domain, policy: policy, now: a.now()}
	if err := o.config.Store.refuseInUse(ctx); err != nil {
		return ca.Supply{}, err
	}
	if err := a.checkPlace(ctx, o, request); err != nil {
		return ca.Supply{}, fmt.Errorf("making the root: %w", err)
	}
	if err := o.makeDirs(); err != nil {
		return ca.Supply{}, err
	}
	if err := o.generatePassphrases(); err != nil {
		return ca.Supply{}, err
	}
	anchors, err := a.makeRoots(ctx, o, request)
	if err != nil {
		return ca.Supply{}, fmt.Errorf("making the root: %w", err)
	}
	opened, err := o.config.makeStore(ctx)
	if err != nil {
		return ca.Supply{}, err
	}
	supply, err := a.firstSupply(ctx, o.config, policy, opened, anchors)
	return supply, errors.Join(err, opened.Close())
}

func (a *app) firstSupply(ctx context.Context, cfg config, policy fips.Policy, opened store.Durable, anchors []ca.Anchor) (ca.Supply, error) {
	o, err := a.connect(cfg, nil)
	if err != nil {
		return ca.Supply{}, err
	}
	defer o.close() //nolint:errcheck // nothing is in flight any more
	root, err := a.openRoot(cfg.Root, policy, o)
	if err != nil {
		return ca.Supply{}, err
	}
	keys, err := a.openKeys(cfg, policy, o)
	if err != nil {
		return ca.Supply{}, err
	}
	custodian, err := openCustodian(cfg, policy, opened, ca.OneOf(root), keys)
	if err != nil {
		return ca.Supply{}, err
	}
	if err := custodian.Initialise(ctx, a.now(), anchors); err != nil {
		return ca.Supply{}, err
	}
	supply, err := custodian.Tick(ctx, a.now(), false)
	if err != nil {
		return ca.Supply{}, fmt.Errorf("making the first intermediate: %w", err)
	}
	return supply, nil
}

// initialised is what ca init prints.
type initialised struct {
	TrustDomain  string           `json:"trustDomain"`
	Config       string           `json:"config"`
	StandbyDir   string           `json:"standbyDir"`
	Anchors      []initialisedRow `json:"anchors"`
	Intermediate initialisedRow   `json:"intermediate"`
	Next         string           `json:"next"`
}

type initialisedRow struct {
	Role     string    `json:"role"`
	ID       string    `json:"id"`
	NotAfter time.Time `json:"notAfter"`
}

func (a *app) printInitialised(o *initOptions, supply ca.Supply) error {
	out := initialised{
		TrustDomain: o.config.TrustDomain, Config: o.configPath, StandbyDir: o.standbyDir,
		Intermediate: initialisedRow{"intermediate", supply.Intermediate.KeyID(), supply.Intermediate.NotAfter().UTC()},
		Next:         "ca serve --config " + o.configPath,
	}
	for _, anchor := range supply.Bundle.Anchors() {
		out.Anchors = append(out.Anchors, initialisedRow{
			"root, " + string(anchor.Slot), ca.AnchorIDOf(anchor.Certificate).String(), anchor.Certificate.NotAfter.UTC(),
		})
	}
	return a.print("Initialised", out, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "ROLE\tID\tEND\n")
		for _, row := range append(out.Anchors, out.Intermediate) {
			fmt.Fprintf(w, "%s\t%.16s\t%s\n", row.Role, row.ID, row.NotAfter.Format(time.RFC3339))
		}
		fmt.Fprintf(w, "\nMove %s and its passphrase away from this machine: the standby never signs.\n", out.StandbyDir)
		fmt.Fprintf(w, "Configuration: %s\nNext: %s\n", out.Config, out.Next)
	})
}

// newPassphrase is 32 random bytes as text.
func newPassphrase() ([]byte, error) {
	raw := make([]byte, 32)
	if err := fips.Random(raw); err != nil {
		return nil, fmt.Errorf("making a passphrase: %w", err)
	}
	return fmt.Appendf(nil, "%x\n", raw), nil
}
