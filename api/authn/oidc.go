package authn

import (
	"context"
	"maps"

	"github.com/kedge-ca/kedge/ca"
)

// provider is an issuer that is no Kubernetes cluster.
type provider struct {
	issuer
	prefix   string
	claim    string
	required map[string]string
}

func newProvider(i issuer, o OIDCConfig) *provider {
	claim := o.Claim
	if claim == "" {
		claim = "sub"
	}
	return &provider{issuer: i, prefix: o.PathPrefix, claim: claim, required: maps.Clone(o.RequireClaims)}
}

func (a *Authenticator) authenticateOIDC(ctx context.Context, c Credentials, p *provider, t *token) (ca.Caller, error) {
	if err := a.verify(ctx, &p.issuer, t, c.Door); err != nil {
		return ca.Caller{}, err
	}
	identity, err := p.identity(a.domain, t.payload)
	if err != nil {
		return ca.Caller{}, err
	}
	return a.newCaller(identity, ca.Evidence{
		Method: ca.MethodOIDC, Issuer: t.claims.issuer, Subject: t.claims.subject,
	}, c)
}

// identity maps a verified payload to an identity. The value of the claim is
// appended as it is and must make a legal SPIFFE ID: nothing is escaped,
// replaced or cut, so that two values can never become one identity.
func (p *provider) identity(domain ca.TrustDomain, payload []byte) (ca.Identity, error) {
	found, err := stringClaims(payload, func(name string) bool {
		_, required := p.required[name]
		return required || name == p.claim
	})
	if err != nil {
		return ca.Identity{}, ca.Refuse(ca.ReasonTokenMalformed, "payload: %w", err)
	}
	for name, want := range p.required {
		if got, ok := found[name]; !ok || got != want {
			return ca.Identity{}, ca.Refuse(ca.ReasonTokenSubject, "claim %q is not what %s requires", name, p.name)
		}
	}
	identity, err := ca.ParseIdentity(domain.URI() + p.prefix + "/" + found[p.claim])
	if err != nil {
		return ca.Identity{}, ca.Refuse(ca.ReasonTokenSubject, "claim %q: %w", p.claim, err)
	}
	return identity, nil
}
