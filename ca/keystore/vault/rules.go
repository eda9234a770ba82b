package vault

import "github.com/kedge-ca/kedge/ca/vault"

// Rules are the permissions that a running server needs for its keys.
func (s *Store) Rules() []vault.Rule {
	keys := s.c.Mount + "/keys/" + s.c.Prefix + "*"
	return []vault.Rule{
		{Path: keys, Capabilities: []string{"create", "read", "update", "delete"}, Why: "Make, find and destroy the keys of intermediates."},
		{Path: s.c.Mount + "/sign/" + s.c.Prefix + "*", Capabilities: []string{"create", "update"}, Why: "Sign certificates."},
	}
}

// Rules are the permissions that a running server needs to seal and open its keys.
func (s *Sealer) Rules() []vault.Rule {
	return []vault.Rule{
		{Path: s.c.Mount + "/keys/" + s.c.Key, Capabilities: []string{"read"}, Why: "See that the key-encryption key is a safe one."},
		{Path: s.c.Mount + "/encrypt/" + s.c.Key, Capabilities: []string{"create", "update"}, Why: "Seal the keys of intermediates."},
		{Path: s.c.Mount + "/decrypt/" + s.c.Key, Capabilities: []string{"create", "update"}, Why: "Open the keys of intermediates."},
	}
}
