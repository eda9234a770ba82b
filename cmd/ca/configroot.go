package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca/vault"
)

// Where the root is, and where the intermediates' keys are.
const (
	rootLocal        = "local"
	rootVaultPKI     = "vault-pki"
	rootVaultTransit = "vault-transit"
	rootUpstream     = "upstream"

	keysFile         = "file"
	keysVaultTransit = "vault-transit"
	keysUpstream     = "upstream"
)

// rootConfig says where the root is. Dir holds the root's certificate, and its
// sealed key where the root is local.
type rootConfig struct {
	Type       string           `yaml:"type" json:"type"`
	Dir        string           `yaml:"dir" json:"dir,omitempty"`
	Passphrase passphraseConfig `yaml:"passphrase" json:"passphrase,omitzero"`
	Mount      string           `yaml:"mount" json:"mount,omitempty"`           // of Vault's engine
	Issuer     string           `yaml:"issuer" json:"issuer,omitempty"`         // vault-pki; "" is the mount's default
	Key        string           `yaml:"key" json:"key,omitempty"`               // vault-transit
	KeyVersion int              `yaml:"keyVersion" json:"keyVersion,omitempty"` // vault-transit
}

// keysConfig says where the intermediates' keys are and what protects them.
type keysConfig struct {
	Type       string           `yaml:"type" json:"type"`
	Store      string           `yaml:"store" json:"store"`
	Passphrase passphraseConfig `yaml:"passphrase" json:"passphrase,omitzero"`
	KEK        kekConfig        `yaml:"kek" json:"kek,omitzero"`        // instead of a passphrase
	Mount      string           `yaml:"mount" json:"mount,omitempty"`   // store vault-transit
	Prefix     string           `yaml:"prefix" json:"prefix,omitempty"` // store vault-transit
}

// kekConfig is a key-encryption key in Vault's transit engine.
type kekConfig struct {
	Mount string `yaml:"mount" json:"mount"`
	Key   string `yaml:"key" json:"key"`
}

// upstreamConfig is the socket of ca-upstream, which root and keys share.
type upstreamConfig struct {
	Socket string `yaml:"socket" json:"socket"`
	UID    int    `yaml:"uid" json:"uid"` // of ca-upstream; -1 is this server's own
}

// noUpstream is a configuration that says nothing of it.
var noUpstream = upstreamConfig{UID: -1}

// vaultConfig is the connection that root and keys share.
type vaultConfig struct {
	Address    string           `yaml:"address" json:"address"`
	Namespace  string           `yaml:"namespace" json:"namespace,omitempty"`
	CAFile     string           `yaml:"caFile" json:"caFile"`
	ServerName string           `yaml:"serverName" json:"serverName,omitempty"`
	Timeout    duration         `yaml:"timeout" json:"timeout,omitzero"`
	Login      vaultLoginConfig `yaml:"login" json:"login"`
}

// vaultLoginConfig is how to get a token; every file is read again at each login.
type vaultLoginConfig struct {
	Type         string `yaml:"type" json:"type"` // token-file, approle, kubernetes, jwt or certificate
	Mount        string `yaml:"mount" json:"mount,omitempty"`
	Role         string `yaml:"role" json:"role,omitempty"`
	RoleID       string `yaml:"roleID" json:"roleID,omitempty"`
	SecretIDFile string `yaml:"secretIDFile" json:"secretIDFile,omitempty"`
	Wrapped      bool   `yaml:"wrapped" json:"wrapped,omitempty"` // secretIDFile holds a wrapping token
	TokenFile    string `yaml:"tokenFile" json:"tokenFile,omitempty"`
	CertFile     string `yaml:"certFile" json:"certFile,omitempty"`
	KeyFile      string `yaml:"keyFile" json:"keyFile,omitempty"`
}

func (l vaultLoginConfig) build() vault.Login {
	return vault.Login{
		Type: vault.LoginType(l.Type), Mount: l.Mount, Role: l.Role, RoleID: l.RoleID, SecretIDFile: l.SecretIDFile,
		Wrapped: l.Wrapped, TokenFile: l.TokenFile, CertFile: l.CertFile, KeyFile: l.KeyFile,
	}
}

func (v vaultConfig) build(now func() time.Time) vault.Config {
	return vault.Config{
		Address: v.Address, Namespace: v.Namespace, CAFile: v.CAFile, ServerName: v.ServerName,
		Timeout: time.Duration(v.Timeout), Login: v.Login.build(), Now: now,
	}
}

// usesVault tells whether anything of the configuration is in Vault.
func (c *config) usesVault() bool {
	return c.Root.isInVault() || c.NextRoot.isInVault() || c.Keys.Store == keysVaultTransit || c.Keys.KEK != kekConfig{}
}

// usesUpstream tells whether anything of the configuration is behind ca-upstream.
func (c *config) usesUpstream() bool {
	return c.Root.Type == rootUpstream || c.NextRoot.Type == rootUpstream || c.Keys.Store == keysUpstream
}

// rootProblems holds root, keys and vault to each other: what a type does not
// read must not be there, because somebody believes that it has an effect.
func (c *config) rootProblems(add addProblem) {
	if !c.isZone() {
		c.Root.problems("root", add)
		if c.NextRoot != (rootConfig{}) {
			c.NextRoot.problems("nextRoot", add)
		}
	}
	c.zoneProblems(add)
	c.keysProblems(add)
	c.vaultProblems(add)
	switch {
	case !c.usesUpstream() && c.Upstream != noUpstream:
		add("upstream", "neither root nor keys are behind ca-upstream: leave the section out")
	case c.usesUpstream() && !filepath.IsAbs(c.Upstream.Socket):
		add("upstream.socket", "%q is not an absolute path", c.Upstream.Socket)
	}
}

// problems are those of one root; section is root or nextRoot.
func (r rootConfig) problems(section string, add addProblem) {
	switch r.Type {
	case rootLocal:
		r.Passphrase.problems(section+".passphrase", add)
		refuseSet(add, section, "a local root", map[string]string{"mount": r.Mount, "issuer": r.Issuer, "key": r.Key})
	case rootVaultPKI:
		mountProblem(add, section+".mount", r.Mount)
		if r.Issuer != "" {
			nameProblem(add, section+".issuer", r.Issuer)
		}
		refuseSet(add, section, "a root in Vault's PKI engine", map[string]string{"key": r.Key, "passphrase": r.Passphrase.source()})
	case rootVaultTransit:
		mountProblem(add, section+".mount", r.Mount)
		nameProblem(add, section+".key", r.Key)
		if r.KeyVersion < 1 {
			add(section+".keyVersion", "name the version of the key that the root's certificate is for, such as 1")
		}
		refuseSet(add, section, "a root key in Vault's transit engine", map[string]string{"issuer": r.Issuer, "passphrase": r.Passphrase.source()})
	case rootUpstream:
		refuseSet(add, section, "a root behind ca-upstream", map[string]string{
			"mount": r.Mount, "issuer": r.Issuer, "key": r.Key, "passphrase": r.Passphrase.source(),
		})
	default:
		add(section+".type", "%q is none of %s, %s, %s, %s", r.Type, rootLocal, rootVaultPKI, rootVaultTransit, rootUpstream)
	}
	if r.Type != rootVaultTransit && r.KeyVersion != 0 {
		add(section+".keyVersion", "only a root of type %s has it", rootVaultTransit)
	}
}

// keepsFiles tells whether something of the root is in a directory.
func (r rootConfig) keepsFiles() bool { return r.Type == rootLocal || r.Type == rootVaultTransit }

func (r rootConfig) isInVault() bool { return r.Type == rootVaultPKI || r.Type == rootVaultTransit }

func (c *config) keysProblems(add addProblem) {
	k := c.Keys
	switch {
	case k.Store == keysVaultTransit:
		mountProblem(add, "keys.mount", k.Mount)
		nameProblem(add, "keys.prefix", k.Prefix)
		for _, root := range []rootConfig{c.Root, c.NextRoot} {
			if own := k.Prefix + "intermediate-"; root.Type == rootVaultTransit && root.Mount == k.Mount && strings.HasPrefix(root.Key, own) {
				add("keys.prefix", "the policy for keys that begin with %s would reach the root's own, %s: choose another prefix", own, root.Key)
			}
		}
		refuseSet(add, "keys", "a store in Vault", map[string]string{"passphrase": k.Passphrase.source(), "kek": k.KEK.Mount + k.KEK.Key})
	case k.Store == keysUpstream:
		refuseSet(add, "keys", "a store behind ca-upstream", map[string]string{
			"passphrase": k.Passphrase.source(), "kek": k.KEK.Mount + k.KEK.Key, "mount": k.Mount, "prefix": k.Prefix,
		})
	case k.Store != keysFile:
		add("keys.store", "%q is none of %s, %s, %s", k.Store, keysFile, keysVaultTransit, keysUpstream)
	default:
		refuseSet(add, "keys", "a store of files", map[string]string{"mount": k.Mount, "prefix": k.Prefix})
		if k.KEK == (kekConfig{}) {
			k.Passphrase.problems("keys.passphrase", add)
			return
		}
		mountProblem(add, "keys.kek.mount", k.KEK.Mount)
		nameProblem(add, "keys.kek.key", k.KEK.Key)
		refuseSet(add, "keys", "a store with a key-encryption key", map[string]string{"passphrase": k.Passphrase.source()})
	}
}

func (c *config) vaultProblems(add addProblem) {
	if !c.usesVault() {
		if c.Vault != (vaultConfig{}) {
			add("vault", "neither root nor keys are in Vault: leave the section out")
		}
		return
	}
	if err := c.vaultClientConfig(time.Now).Validate(); err != nil {
		add("vault", "%v", err)
	}
	for name, path := range map[string]string{
		"caFile": c.Vault.CAFile, "login.secretIDFile": c.Vault.Login.SecretIDFile, "login.tokenFile": c.Vault.Login.TokenFile,
		"login.certFile": c.Vault.Login.CertFile, "login.keyFile": c.Vault.Login.KeyFile,
	} {
		if path != "" && !filepath.IsAbs(path) {
			add("vault."+name, "%q is not an absolute path", path)
		}
	}
}

func mountProblem(add addProblem, path, mount string) {
	if err := vault.CheckMount(mount); err != nil {
		add(path, "%v", err)
	}
}

func nameProblem(add addProblem, path, name string) {
	if err := vault.CheckName(name); err != nil {
		add(path, "%v", err)
	}
}

func refuseSet(add addProblem, section, what string, values map[string]string) {
	for name, value := range values {
		if value != "" {
			add(section+"."+name, "%s does not read it: leave it out", what)
		}
	}
}

// source is whatever names the passphrase, "" if nothing does.
func (p passphraseConfig) source() string { return p.File + p.Env + p.Credential }

// vaultClientConfig is the connection with what other sections say about it.
func (c *config) vaultClientConfig(now func() time.Time) vault.Config {
	v := c.Vault.build(now)
	v.RequireFIPS = c.FIPS.RequireExternal
	return v
}

// describeRoot is one line for people.
func (c *config) describeRoot() string {
	switch c.Root.Type {
	case rootVaultPKI:
		issuer := c.Root.Issuer
		if issuer == "" {
			issuer = "the default issuer"
		}
		return fmt.Sprintf("%s in mount %s of %s", issuer, c.Root.Mount, c.Vault.Address)
	case rootVaultTransit:
		return fmt.Sprintf("key %s, version %d, in mount %s of %s", c.Root.Key, c.Root.KeyVersion, c.Root.Mount, c.Vault.Address)
	}
	if c.Root.Type == rootUpstream {
		return "the root behind " + c.Upstream.Socket
	}
	return c.Root.Dir
}
