package vault

import "github.com/kedge-ca/kedge/ca/vault"

// Rules are the permissions that a running server needs for its keys.
func (s *Store) Rules() []vault.Rule {
	// The custodian's names all begin so. A shorter pattern would cover the root's own
	// key, or those of a replica whose prefix begins with this one.
	names := s.c.Prefix + "intermediate-*"
	return []vault.Rule{
		{Path: s.c.Mount + "/keys/" + names, Capabilities: []string{"create", "read", "update", "delete"}, Why: "Make, find and destroy the keys of intermediates."},
		{Path: s.c.Mount + "/sign/" + names, Capabilities: []string{"create", "update"}, Why: "Sign certificates."},
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
