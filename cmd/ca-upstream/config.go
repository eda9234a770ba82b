package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
)

// config is the file. Files of secrets must be readable by their owner only.
type config struct {
	TrustDomain string    `yaml:"trust_domain"`
	Profile     string    `yaml:"fips_profile"` // fips, fips-2031 or cnsa1
	Socket      string    `yaml:"socket"`
	AllowUID    []uint32  `yaml:"allow_uid"` // beside the program's own user
	Group       *int      `yaml:"group"`     // number of the group whose members reach the socket
	CAS         casConfig `yaml:"cas"`
	KMS         kmsConfig `yaml:"kms"`
}

// casConfig is the root as an authority of smallstep's; see cas.Config.
type casConfig struct {
	Type            string        `yaml:"type"`
	Authority       string        `yaml:"certificate_authority"`
	Fingerprint     string        `yaml:"fingerprint"`
	Issuer          *issuerConfig `yaml:"issuer"`
	CredentialsFile string        `yaml:"credentials_file"`
	Chain           string        `yaml:"chain"` // of softcas: PEM, issuer first, anchor last
	Key             string        `yaml:"key"`   // of softcas: URI in the kms
}

type issuerConfig struct {
	Type         string `yaml:"type"`
	Provisioner  string `yaml:"provisioner"`
	Certificate  string `yaml:"certificate"`
	Key          string `yaml:"key"`
	PasswordFile string `yaml:"password_file"`
}

// kmsConfig is where keys are; see package kms.
type kmsConfig struct {
	URI             string `yaml:"uri"`
	PasswordFile    string `yaml:"password_file"` // of software keys
	RootKey         string `yaml:"root_key"`
	RootCertificate string `yaml:"root_certificate"`
	Keys            string `yaml:"keys"`
	KeyType         string `yaml:"key_type"`
}

// Bounds of what is read.
const (
	maxConfig = 64 << 10
	maxChain  = 64 << 10
	maxSecret = 4 << 10
)

func loadConfig(path string) (config, error) {
	c := config{Profile: "fips", Socket: "/run/kedge-upstream/upstream.sock", KMS: kmsConfig{KeyType: string(fips.ECDSAP256)}}
	raw, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("reading configuration: %w", err)
	}
	if len(raw) > maxConfig {
		return c, fmt.Errorf("%s has %d bytes, more than a configuration can have", path, len(raw))
	}
	if err := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict()).Decode(&c); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// check finds what cannot be meant. What a backend needs it says itself.
func (c config) check() error {
	if _, err := ca.ParseTrustDomain(c.TrustDomain); err != nil {
		return fmt.Errorf("trust_domain: %w", err)
	}
	switch {
	case c.CAS.Type == "" && c.KMS.RootKey == "" && c.KMS.Keys == "":
		return fmt.Errorf("there is nothing to hold: give cas.type, kms.root_key or kms.keys")
	case c.CAS.Type != "" && c.KMS.RootKey != "":
		return fmt.Errorf("cas and kms.root_key are two roots; give one")
	case c.CAS.Type == "" && c.CAS != casConfig{}:
		return fmt.Errorf("cas.type is missing")
	case (c.KMS.RootKey == "") != (c.KMS.RootCertificate == ""):
		return fmt.Errorf("kms.root_key and kms.root_certificate belong together")
	case (c.CAS.Key == "") != (c.CAS.Chain == ""):
		return fmt.Errorf("cas.key and cas.chain belong together")
	case (c.KMS.URI != "") != (c.KMS.RootKey != "" || c.KMS.Keys != "" || c.CAS.Key != ""):
		return fmt.Errorf("kms.uri belongs together with kms.root_key, kms.keys or cas.key")
	}
	for _, uid := range c.AllowUID {
		if uid != 0 && int(uid) != os.Getuid() && c.Group == nil {
			return fmt.Errorf("user %d cannot reach a socket of mode 0600: give the number of a group that it is in", uid)
		}
	}
	return nil
}

// readSecret reads a file of one line; no path gives none.
func readSecret(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := secretfile.Read(path, maxSecret)
	if err != nil {
		return nil, err
	}
	secret := bytes.TrimRight(raw, "\r\n")
	if len(secret) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}

// readChain reads certificates and nothing else.
func readChain(path string) ([]*x509.Certificate, error) {
	raw, err := secretfile.ReadPublic(path, maxChain)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for len(bytes.TrimSpace(raw)) != 0 {
		block, rest := pem.Decode(raw)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds something that is no PEM certificate", path)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		chain, raw = append(chain, cert), rest
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return chain, nil
}
