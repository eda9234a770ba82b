package authn

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Credentials are what arrived with one request, taken off the wire by the
// adapter. Nothing else of a request can name a caller.
type Credentials struct {
	Token     string               // bearer token without its scheme, "" if none
	ClusterID string               // value of the metadata clusterid, "" if none
	Peer      string               // network address, recorded and never trusted
	TLS       *tls.ConnectionState // of a listener of fips.ServerTLS; nil without TLS
	Door      Door                 // set by the adapter, never by a caller
}

// Door is what a way in asks of a token where that is not what its issuer is
// configured with, so that a token for one protocol is worth nothing in another.
type Door struct {
	Audiences       []string // instead of the issuer's; none: the issuer's
	OwnAudience     bool     // the issuer's own URL will do too: the audience of an API server that was told none
	ServiceAccounts bool     // only tokens of Kubernetes' service accounts
}

// accepts tells whether a token of i for the audiences aud may come in.
func (d Door) accepts(i *issuer, aud []string) bool {
	accepted := i.audiences
	if len(d.Audiences) > 0 {
		accepted = d.Audiences
	}
	return slices.ContainsFunc(aud, func(a string) bool {
		return slices.Contains(accepted, a) || d.OwnAudience && a == i.url
	})
}

// Authenticator says who is calling. New makes one. It is safe for concurrent
// use; a call takes no lock unless its token names an unknown key.
type Authenticator struct {
	domain     ca.TrustDomain
	now        func() time.Time
	leeway     time.Duration
	clusters   []*cluster
	providers  []*provider
	joinTokens JoinTokens
	sources    []*keySource
	refreshers sync.WaitGroup
}

// issuer is what is checked of every token of one issuer.
type issuer struct {
	name        string
	url         string
	audiences   []string
	maxLifetime time.Duration
	keys        *keySource
}

// New checks c and starts one goroutine for each key set that can change; Close
// stops them. Keys at a URL need not be reachable yet.
func New(c Config) (*Authenticator, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configuring authentication: %w", err)
	}
	policy, err := fips.PolicyByName("fips")
	if err != nil {
		return nil, fmt.Errorf("configuring authentication: %w", err)
	}
	a := &Authenticator{domain: c.TrustDomain, now: c.Now, leeway: c.Leeway, joinTokens: c.JoinTokens}
	add := func(name string, i issuerConfig) (issuer, error) {
		source, err := newKeySource(name, i.keys, &c, policy)
		if err != nil {
			return issuer{}, err
		}
		a.sources = append(a.sources, source)
		return issuer{name: name, url: i.issuer, audiences: slices.Clone(i.audiences), maxLifetime: i.maxLifetime, keys: source}, nil
	}
	for _, k := range c.Kubernetes {
		i, err := add(k.Cluster, issuerConfig{k.Issuer, k.Audiences, orDefault(k.MaxLifetime, defaultKubernetesLifetime), k.JWKS})
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("configuring authentication: cluster %q: %w", k.Cluster, err)
		}
		a.clusters = append(a.clusters, newCluster(i, k))
	}
	for _, o := range c.OIDC {
		i, err := add(o.Name, issuerConfig{o.Issuer, o.Audiences, orDefault(o.MaxLifetime, defaultOIDCLifetime), o.JWKS})
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("configuring authentication: OIDC provider %q: %w", o.Name, err)
		}
		a.providers = append(a.providers, newProvider(i, o))
	}
	a.start(c.Previous)
	return a, nil
}

// start takes keys over and begins to keep them fresh.
func (a *Authenticator) start(previous *Authenticator) {
	for _, s := range a.sources {
		if s.refresh == 0 {
			continue
		}
		if previous != nil {
			s.takeOver(previous.sources)
		}
		// Begun here, so that the first request finds it under way. A file was
		// loaded before.
		var first <-chan struct{}
		if s.stats.LastAttempt.IsZero() {
			first, _ = s.begin(0)
		}
		a.refreshers.Go(func() { s.keepFresh(first) })
	}
}

// takeOver begins with the keys that another source already has from the same
// place.
func (s *keySource) takeOver(others []*keySource) {
	for _, other := range others {
		if loaded := other.current.Load(); other.from == s.from && loaded != nil {
			s.current.CompareAndSwap(nil, loaded)
			return
		}
	}
}

// Close stops refreshing and returns when no refresh will begin any more. Calls
// under way finish, and later ones verify with the keys that are there.
func (a *Authenticator) Close() {
	for _, s := range a.sources {
		s.close()
	}
	a.refreshers.Wait()
}

// Reload reads every file and fetches every URL now, and returns what failed.
// Keys of a source that failed stay.
func (a *Authenticator) Reload(ctx context.Context) error {
	failed := make([]error, 0, len(a.sources))
	for _, s := range a.sources {
		failed = append(failed, s.reload(ctx))
	}
	return errors.Join(failed...)
}

// Authenticate finds the caller by its token, or without one by its client
// certificate. A token wins over a certificate that has expired or lost its
// anchor, but both must name one identity: else somebody's token travels over
// somebody else's connection. Errors are *ca.Error.
//
// A join token that arrives beside a certificate of another identity is spent
// by the refusal.
func (a *Authenticator) Authenticate(ctx context.Context, c Credentials, bundle *ca.Bundle) (ca.Caller, error) {
	if c.Token == "" {
		return a.AuthenticateCertificate(ctx, c, bundle)
	}
	beside, err := a.identityBeside(c.TLS)
	if err != nil {
		return ca.Caller{}, err
	}
	caller, err := a.authenticateToken(ctx, c)
	if err != nil {
		return ca.Caller{}, err
	}
	if !beside.IsZero() && beside != caller.Identity() {
		return ca.Caller{}, ca.Refuse(ca.ReasonCredentialsDiffer, "token of %s, certificate of %s", caller.Identity(), beside)
	}
	return caller, nil
}

func (a *Authenticator) authenticateToken(ctx context.Context, c Credentials) (ca.Caller, error) {
	if isJoinToken(c.Token) && !c.Door.ServiceAccounts {
		return a.authenticateJoinToken(ctx, c)
	}
	raw := []byte(c.Token)
	t, err := parseToken(raw)
	if err != nil {
		return ca.Caller{}, err
	}
	for _, p := range a.providers {
		if p.url == t.claims.issuer && !c.Door.ServiceAccounts {
			return a.authenticateOIDC(ctx, c, p, &t)
		}
	}
	k, err := a.clusterOf(c.ClusterID, t.claims.issuer)
	if err != nil {
		return ca.Caller{}, err
	}
	return a.authenticateKubernetes(ctx, c, k, &t)
}

// verify checks everything about t that does not depend on the kind of issuer:
// first its signature, so that nothing else is learned from a forgery.
func (a *Authenticator) verify(ctx context.Context, i *issuer, t *token, door Door) error {
	keys, err := i.keys.find(ctx, t.keyID)
	if err != nil {
		return err
	}
	if err := verifyWith(keys, t); err != nil {
		return err
	}
	if !door.accepts(i, t.claims.audience) {
		return ca.Refuse(ca.ReasonTokenAudience, "token of %s is for %d other audiences", i.name, len(t.claims.audience))
	}
	return a.checkDates(i, &t.claims)
}

// verifyWith tries the keys of one id that are for the token's algorithm.
func verifyWith(keys []verificationKey, t *token) error {
	tried := false
	for _, k := range keys {
		if k.algorithm != "" && k.algorithm != t.algorithm.name || !t.algorithm.fits(k.public) {
			continue
		}
		tried = true
		if t.algorithm.verify(k.public, t.signed, t.signature) == nil {
			return nil
		}
	}
	if !tried {
		return ca.Refuse(ca.ReasonTokenAlgorithm, "key %q is not for %s", clip([]byte(t.keyID)), t.algorithm.name)
	}
	return ca.Refuse(ca.ReasonTokenSignature, "signature by key %q does not verify", clip([]byte(t.keyID)))
}

// checkDates holds exp, nbf and iat of RFC 7519 §4.1 against our clock. exp and
// iat are required: a token without them lives for ever, or for nobody knows how
// long.
func (a *Authenticator) checkDates(i *issuer, c *claims) error {
	now := a.now()
	switch {
	case c.expires.IsZero() || c.issuedAt.IsZero():
		return ca.Refuse(ca.ReasonTokenLifetime, "token without exp or iat")
	case !now.Before(c.expires.Add(a.leeway)):
		return ca.Refuse(ca.ReasonTokenExpired, "token expired at %s", c.expires.UTC().Format(time.RFC3339))
	case now.Before(c.notBefore.Add(-a.leeway)):
		return ca.Refuse(ca.ReasonTokenNotYet, "token is valid from %s", c.notBefore.UTC().Format(time.RFC3339))
	case now.Before(c.issuedAt.Add(-a.leeway)):
		return ca.Refuse(ca.ReasonTokenNotYet, "token is issued at %s", c.issuedAt.UTC().Format(time.RFC3339))
	}
	if life := c.expires.Sub(c.issuedAt); life <= 0 || life > i.maxLifetime {
		return ca.Refuse(ca.ReasonTokenLifetime, "token lives for %s, %s allows %s", life, i.name, i.maxLifetime)
	}
	return nil
}

// newCaller is the caller of a verified token.
func (a *Authenticator) newCaller(identity ca.Identity, e ca.Evidence, c Credentials) (ca.Caller, error) {
	hash := sha256.Sum256([]byte(c.Token))
	e.TokenHash, e.Peer = hex.EncodeToString(hash[:]), c.Peer
	caller, err := ca.NewCaller(identity, e)
	if err != nil {
		return ca.Caller{}, ca.Refuse(ca.ReasonInternal, "making caller: %w", err)
	}
	return caller, nil
}
