package main

import (
	"fmt"

	"github.com/goccy/go-yaml"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
)

// writeConfig writes what ca serve needs; the defaults stay unwritten.
func (o *initOptions) writeConfig() error {
	c := o.config
	file := section{}
	file.add("trustDomain", c.TrustDomain)
	file.add("dataDir", c.DataDir)
	file.add("listen", c.Listen)
	file = append(file, yaml.MapItem{Key: "serverNames", Value: c.ServerNames})
	fipsSection := section{{Key: "profile", Value: c.FIPS.Profile}}
	if c.FIPS.RequireExternal {
		fipsSection = append(fipsSection, yaml.MapItem{Key: "requireExternal", Value: true})
	}
	file.addSection("fips", fipsSection)
	file.addSection("vault", c.Vault.section())
	file.addSection("upstream", c.Upstream.section())
	file.addSection("keys", c.Keys.section())
	file.addSection("root", c.Root.section())
	file.addSection("store", c.Store.section())
	file.addSection("authn", section{{Key: "joinTokens", Value: true}})
	body, err := yaml.Marshal(yaml.MapSlice(file))
	if err != nil {
		return fmt.Errorf("writing configuration: %w", err)
	}
	head := []byte("# Written by ca init. docs/configuration.md describes every key; add your\n# clusters under authn.kubernetes.\n")
	if err := secretfile.CreatePublic(o.configPath, append(head, body...)); err != nil {
		return fmt.Errorf("writing configuration: %w", err)
	}
	return nil
}

// section is a part of a configuration file in the order in which it is written.
type section yaml.MapSlice

// add adds a value that says something.
func (s *section) add(key, value string) {
	if value != "" {
		*s = append(*s, yaml.MapItem{Key: key, Value: value})
	}
}

func (s *section) addSection(key string, inner section) {
	if len(inner) > 0 {
		*s = append(*s, yaml.MapItem{Key: key, Value: yaml.MapSlice(inner)})
	}
}

func (p passphraseConfig) section() section {
	s := section{}
	s.add("file", p.File)
	s.add("env", p.Env)
	s.add("credential", p.Credential)
	return s
}

func (r rootConfig) section() section {
	s := section{{Key: "type", Value: r.Type}}
	s.add("dir", r.Dir)
	s.addSection("passphrase", r.Passphrase.section())
	s.add("mount", r.Mount)
	s.add("issuer", r.Issuer)
	s.add("key", r.Key)
	if r.KeyVersion != 0 {
		s = append(s, yaml.MapItem{Key: "keyVersion", Value: r.KeyVersion})
	}
	return s
}

func (k keysConfig) section() section {
	s := section{{Key: "type", Value: k.Type}}
	if k.Store != keysFile {
		s.add("store", k.Store)
	}
	s.addSection("passphrase", k.Passphrase.section())
	kek := section{}
	kek.add("mount", k.KEK.Mount)
	kek.add("key", k.KEK.Key)
	s.addSection("kek", kek)
	s.add("mount", k.Mount)
	s.add("prefix", k.Prefix)
	return s
}

func (u upstreamConfig) section() section {
	s := section{}
	s.add("socket", u.Socket)
	if u.UID >= 0 {
		s = append(s, yaml.MapItem{Key: "uid", Value: u.UID})
	}
	return s
}

func (v vaultConfig) section() section {
	if v == (vaultConfig{}) {
		return nil
	}
	s := section{}
	s.add("address", v.Address)
	s.add("namespace", v.Namespace)
	s.add("caFile", v.CAFile)
	s.add("serverName", v.ServerName)
	l := section{}
	l.add("type", v.Login.Type)
	l.add("mount", v.Login.Mount)
	l.add("role", v.Login.Role)
	l.add("roleID", v.Login.RoleID)
	l.add("secretIDFile", v.Login.SecretIDFile)
	if v.Login.Wrapped {
		l = append(l, yaml.MapItem{Key: "wrapped", Value: true})
	}
	l.add("tokenFile", v.Login.TokenFile)
	l.add("certFile", v.Login.CertFile)
	l.add("keyFile", v.Login.KeyFile)
	s.addSection("login", l)
	return s
}
