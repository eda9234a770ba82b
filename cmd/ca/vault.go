package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca"
	transit "github.com/kedge-ca/kedge/ca/keystore/vault"
	vaultroot "github.com/kedge-ca/kedge/ca/root/vault"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

func newVaultCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vault",
		Short: "What Kedge needs of Vault, and whether it has it",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newVaultPolicyCommand(a), newVaultPreflightCommand(a))
	return cmd
}

// vaultOptions are a configuration file, or the part of one by flags.
type vaultOptions struct {
	configPath string
	mode       string // pki or transit
	name       string
	setup      bool
	config     config
}

func newVaultPolicyCommand(a *app) *cobra.Command {
	o := &vaultOptions{config: defaultConfig()}
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Print the least policy that the server's token needs",
		Long: `Prints a Vault policy in HCL: every path that the server asks, with the reason, and
no other. With --config it is that of a configuration, keys in Vault included; with
--mode that of a root by its mount and name. --setup adds what ca init needs once, to
make the root: give that to a token that ends soon.`,
		Example: "  ca vault policy --mode pki | vault policy write kedge -\n  ca vault policy --config /etc/kedge/ca.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			backends, err := a.vaultBackends(o)
			if err != nil {
				return err
			}
			return a.printPolicy(backends.rules(o.setup))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.configPath, "config", "", "configuration whose policy to print")
	f.StringVar(&o.mode, "mode", "", "pki or transit, without a configuration")
	f.StringVar(&o.config.Root.Mount, "mount", "", "mount of the engine (default pki or transit)")
	f.StringVar(&o.name, "name", "kedge-root", "name of the issuer or key; \"\" is the default issuer")
	f.BoolVar(&o.setup, "setup", false, "add what ca init needs once")
	return cmd
}

func newVaultPreflightCommand(a *app) *cobra.Command {
	o := &vaultOptions{config: defaultConfig()}
	cmd := &cobra.Command{
		Use:   "preflight",
		Short: "Try everything that the server will ask of Vault",
		Long: `Logs in as the server would and tries every permission, without making a
certificate: a request to sign is one that Vault cannot sign, a test signature is
over a sentence, a test key is destroyed again. × names the line that the policy
lacks. Where the data directory is there, the root is compared with its bundle. Exit code 0: fine; 1: something failed.`,
		Example: "  ca vault preflight --config /etc/kedge/ca.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			backends, err := a.vaultBackends(o)
			if err != nil {
				return err
			}
			return a.printChecks(rootResults(backends.preflight(cmd.Context(), a.now())), false)
		},
	}
	cmd.Flags().StringVar(&o.configPath, "config", defaultConfigPath, "configuration of the server")
	return cmd
}

// vaultBackends is what a configuration has in Vault.
type vaultBackends struct {
	config  config
	client  *vault.Client
	pki     *vaultroot.PKI
	transit *vaultroot.Transit
	next    *vaultBackends // the root of the anchor that shall sign; nil where it is not in Vault
	store   *transit.Store
	sealer  *transit.Sealer
}

// vaultBackends reads the configuration, or makes one of the flags.
func (a *app) vaultBackends(o *vaultOptions) (*vaultBackends, error) {
	cfg, err := o.load()
	if err != nil {
		return nil, err
	}
	return a.openVaultBackends(cfg)
}

func (o *vaultOptions) load() (config, error) {
	cfg := o.config
	switch {
	case o.configPath != "" && o.mode != "":
		return cfg, fmt.Errorf("give --config or --mode, not both")
	case o.configPath != "":
		loaded, err := loadConfig(o.configPath)
		if err == nil && !loaded.usesVault() {
			err = fmt.Errorf("%s: neither root nor keys are in Vault", o.configPath)
		}
		return loaded, err
	case o.mode == "pki":
		setIfEmpty(&cfg.Root.Mount, "pki")
		cfg.Root.Type, cfg.Root.Issuer = rootVaultPKI, o.name
	case o.mode == "transit":
		setIfEmpty(&cfg.Root.Mount, "transit")
		cfg.Root.Type, cfg.Root.Key, cfg.Root.KeyVersion = rootVaultTransit, o.name, 1
	default:
		return cfg, fmt.Errorf("--mode %q: give pki or transit, or --config FILE", o.mode)
	}
	return cfg, nil
}

// openVaultBackends opens what is in Vault. Without a connection it can still
// print rules.
func (a *app) openVaultBackends(cfg config) (*vaultBackends, error) {
	policy, err := fips.PolicyByName(cfg.FIPS.Profile)
	if err != nil {
		return nil, err
	}
	b := &vaultBackends{config: cfg, client: &vault.Client{}}
	if cfg.Vault != (vaultConfig{}) {
		o, err := a.connect(cfg, nil)
		if err != nil {
			return nil, err
		}
		b.client = o.vault
	}
	if err := b.openRoot(a, cfg.Root, policy); err != nil {
		return nil, err
	}
	if cfg.NextRoot.isInVault() {
		b.next = &vaultBackends{client: b.client}
		if err := b.next.openRoot(a, cfg.NextRoot, policy); err != nil {
			return nil, err
		}
	}
	if cfg.Keys.Store == keysVaultTransit {
		b.store, err = transit.NewStore(transit.StoreConfig{Client: b.client, Mount: cfg.Keys.Mount, Prefix: cfg.Keys.Prefix, KeyType: fips.KeyType(cfg.Keys.Type)})
		if err != nil {
			return nil, err
		}
	}
	if kek := cfg.Keys.KEK; kek != (kekConfig{}) {
		if b.sealer, err = transit.NewSealer(transit.SealerConfig{Client: b.client, Mount: kek.Mount, Key: kek.Key}); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// openRoot opens the root that is in Vault, if it is.
func (b *vaultBackends) openRoot(a *app, cfg rootConfig, policy fips.Policy) error {
	root, err := a.openRootInVault(cfg, policy, b.client)
	switch root := root.(type) {
	case *vaultroot.PKI:
		b.pki = root
	case *vaultroot.Transit:
		b.transit = root
	}
	return err
}

// rules are the policy; with setup, what is needed once comes first.
func (b *vaultBackends) rules(setup bool) []vault.Rule {
	rules := append(vault.TokenRules(), b.rootRules(setup)...)
	if b.next != nil {
		rules = append(rules, b.next.rootRules(setup)...)
	}
	if b.store != nil {
		rules = append(rules, b.store.Rules()...)
	}
	if b.sealer != nil {
		rules = append(rules, b.sealer.Rules()...)
	}
	return rules
}

func (b *vaultBackends) rootRules(setup bool) []vault.Rule {
	var rules []vault.Rule
	if b.pki != nil {
		if setup {
			rules = append(rules, b.pki.CreateRules()...)
		}
		rules = append(rules, b.pki.Rules()...)
	}
	if b.transit != nil {
		if setup {
			rules = append(rules, b.transit.CreateRules()...)
		} else {
			rules = append(rules, b.transit.Rules()[0])
		}
		rules = append(rules, b.transit.Rules()[1:]...)
	}
	return rules
}

// permitted tells whether the server's login may do what a root in Vault needs.
func (b *vaultBackends) permitted(ctx context.Context) error {
	if err := b.client.LogIn(ctx); err != nil {
		return fmt.Errorf("the login of the server: %w", err)
	}
	tried := b.rootPermitted(ctx)
	if b.next != nil {
		tried = append(tried, b.next.rootPermitted(ctx)...)
	}
	if b.store != nil {
		tried = append(tried, b.store.Permitted(ctx))
	}
	if b.sealer != nil {
		tried = append(tried, b.sealer.Permitted(ctx))
	}
	if err := errors.Join(tried...); err != nil {
		return fmt.Errorf("the login of the server: %w", err)
	}
	return nil
}

func (b *vaultBackends) rootPermitted(ctx context.Context) []error {
	var tried []error
	if b.pki != nil {
		tried = append(tried, b.pki.Permitted(ctx))
	}
	if b.transit != nil {
		tried = append(tried, b.transit.Permitted(ctx))
	}
	return tried
}

// preflight tries everything; after a connection that fails there is nothing to try.
func (b *vaultBackends) preflight(ctx context.Context, now time.Time) []ca.Finding {
	findings := b.client.Preflight(ctx)
	for _, f := range findings {
		if f.Level == ca.LevelFail && (f.ID == "root-reachable" || f.ID == "root-login") {
			return findings
		}
	}
	if b.client.OpensOnce() { // Preflight has said so
		return findings
	}
	findings = append(findings, b.rootPreflight(ctx, now)...)
	if b.next != nil {
		findings = append(findings, b.next.rootPreflight(ctx, now)...)
	}
	findings = append(findings, b.checkBundle(ctx)...)
	if b.store != nil {
		findings = append(findings, b.store.Preflight(ctx)...)
	}
	if b.sealer != nil {
		findings = append(findings, b.sealer.Preflight(ctx)...)
	}
	return findings
}

func (b *vaultBackends) rootPreflight(ctx context.Context, now time.Time) []ca.Finding {
	var findings []ca.Finding
	if b.pki != nil {
		findings = append(findings, b.pki.Preflight(ctx, now)...)
	}
	if b.transit != nil {
		findings = append(findings, b.transit.Preflight(ctx, now)...)
	}
	return findings
}

// rootResults are findings as lines of the category root.
func rootResults(findings []ca.Finding) []checkResult {
	results := make([]checkResult, len(findings))
	for i, f := range findings {
		detail := f.Detail
		if f.Subject != "" {
			detail = f.Subject + ": " + f.Detail
		}
		results[i] = checkResult{"root", f.ID, f.Level, detail, f.Next}
	}
	return results
}

// printPolicy prints HCL, which is what vault policy write reads, or data.
func (a *app) printPolicy(rules []vault.Rule) error {
	type row struct {
		Path         string   `json:"path"`
		Capabilities []string `json:"capabilities"`
		Why          string   `json:"why"`
	}
	out := struct {
		Rules []row  `json:"rules"`
		HCL   string `json:"hcl"`
	}{HCL: vault.HCL(rules)}
	for _, r := range rules {
		out.Rules = append(out.Rules, row{r.Path, r.Capabilities, r.Why})
	}
	return a.print("VaultPolicy", out, func(w *tabwriter.Writer) { fmt.Fprint(w, strings.TrimRight(out.HCL, "\n")+"\n") })
}
