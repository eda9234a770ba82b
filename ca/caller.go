package ca

import (
	"fmt"
	"time"
)

// Method is how a caller proved its identity.
type Method string

// The ways to prove an identity.
const (
	MethodKubernetes  Method = "kubernetes"  // service-account JWT
	MethodOIDC        Method = "oidc"        // JWT of another issuer
	MethodCertificate Method = "certificate" // mutual TLS with a current certificate
	MethodJoinToken   Method = "join_token"  // one-time token for a machine
	MethodLocal       Method = "local"       // this process, for its own server certificate
)

// Evidence is what proved a caller's identity, as the issuance record keeps it.
// It holds no secret: tokens appear as a hash.
type Evidence struct {
	Method    Method `json:"method"`
	Issuer    string `json:"issuer,omitempty"`     // token issuer, or the anchor's id for a certificate
	Subject   string `json:"subject,omitempty"`    // token subject, or the certificate's serial
	Cluster   string `json:"cluster,omitempty"`    // configured name of the Kubernetes cluster
	Pod       string `json:"pod,omitempty"`        // bound pod, "name/uid"
	Node      string `json:"node,omitempty"`       // bound node, "name/uid"
	TokenHash string `json:"token_hash,omitempty"` // hex SHA-256 of the token
	Peer      string `json:"peer,omitempty"`       // network address of the caller
}

// Caller is an authenticated caller. Only package api/authn and the process
// itself (MethodLocal) make one.
type Caller struct {
	identity Identity
	evidence Evidence
}

// NewCaller states that the caller proved identity by evidence.
func NewCaller(identity Identity, evidence Evidence) (Caller, error) {
	if identity.IsZero() {
		return Caller{}, fmt.Errorf("caller without an identity")
	}
	if evidence.Method == "" {
		return Caller{}, fmt.Errorf("caller without a method of authentication")
	}
	return Caller{identity: identity, evidence: evidence}, nil
}

// Identity is who the caller is.
func (c Caller) Identity() Identity { return c.identity }

// Evidence is what proved it.
func (c Caller) Evidence() Evidence { return c.evidence }

// JoinToken is a one-time token for a machine, as it is stored: the token itself
// is shown once and never kept.
type JoinToken struct {
	Hash      [32]byte // SHA-256 of the token
	Identity  Identity
	ExpiresAt time.Time
	CreatedBy string
}
