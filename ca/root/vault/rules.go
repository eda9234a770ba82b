package vault

import "github.com/kedge-ca/kedge/ca/vault"

// Rules are the permissions that a running server needs.
func (p *PKI) Rules() []vault.Rule {
	return []vault.Rule{{Path: p.SignPath(), Capabilities: []string{"create", "update"}, Why: "Have an intermediate signed."}}
}

// CreateRules are the permissions that ca init needs beside them, once, to make
// or import a root.
func (p *PKI) CreateRules() []vault.Rule {
	return []vault.Rule{
		{Path: p.c.Mount + "/root/generate/internal", Capabilities: []string{"create", "update"}, Why: "Make the root; needed once."},
		{Path: p.c.Mount + "/issuers/import/bundle", Capabilities: []string{"create", "update"}, Why: "Import a root; needed once."},
		{Path: p.c.Mount + "/issuer/+", Capabilities: []string{"create", "update"}, Why: "Name an imported root; needed once."},
	}
}

// Rules are the permissions that a running server needs.
func (t *Transit) Rules() []vault.Rule {
	return []vault.Rule{
		{Path: t.c.Mount + "/keys/" + t.c.Key, Capabilities: []string{"read"}, Why: "Hold the root key to its certificate."},
		{Path: t.c.Mount + "/sign/" + t.c.Key + "/+", Capabilities: []string{"create", "update"}, Why: "Sign an intermediate."},
	}
}

// CreateRules are the permissions that ca init needs beside them, once.
func (t *Transit) CreateRules() []vault.Rule {
	return []vault.Rule{
		{Path: t.c.Mount + "/keys/" + t.c.Key, Capabilities: []string{"create", "read", "update"}, Why: "Make the root key; needed once."},
	}
}
