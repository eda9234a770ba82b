package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Defaults and limits of the configuration.
const (
	// maxLeeway bounds how wrong two clocks may be: RFC 7519 §4.1.4 allows "a few
	// minutes", and every second of it lengthens the life of a stolen token.
	maxLeeway = 30 * time.Second
	// defaultKubernetesLifetime covers the 12 hours for which Istio's charts ask.
	// It refuses the year to which an API server extends tokens of its own
	// audience for old clients.
	defaultKubernetesLifetime = 24 * time.Hour
	defaultOIDCLifetime       = time.Hour
	defaultURLRefresh         = 5 * time.Minute
	defaultFileRefresh        = 10 * time.Second
)

// What RequireBound may ask of a token.
const (
	BoundPod  = "pod"  // bound to a pod; the meaning of "" as well
	BoundNone = "none" // any token of a service account
)

// Config is what New needs.
type Config struct {
	TrustDomain ca.TrustDomain
	Kubernetes  []KubernetesConfig
	OIDC        []OIDCConfig
	JoinTokens  JoinTokens       // nil: join tokens are refused
	Now         func() time.Time // required
	Leeway      time.Duration    // clock error allowed for tokens, 0 to 30 s
	HTTPClient  *http.Client     // fetches key sets in tests; nil: the strict one
	// Previous is an authenticator whose keys are taken over where the source is
	// the same, so that a reload during an issuer's outage loses none. It is not
	// closed.
	Previous *Authenticator
}

// JoinTokens spends join tokens. UseJoinToken returns the token with that hash
// and makes it unusable in one step that no two callers can both win. It refuses
// with an *ca.Error: ReasonTokenKeyUnknown, ReasonTokenExpired or
// ReasonTokenUsed. Any other error is an outage. ReturnJoinToken undoes that, for the
// caller who won.
type JoinTokens interface {
	UseJoinToken(ctx context.Context, hash [32]byte, now time.Time) (ca.JoinToken, error)
	ReturnJoinToken(ctx context.Context, hash [32]byte) error
}

// KubernetesConfig is one cluster whose service accounts may call.
type KubernetesConfig struct {
	Cluster      string        // its name, matched with the clusterid of a request
	Issuer       string        // equal to the claim iss, byte by byte
	Audiences    []string      // one of them must be in the claim aud
	JWKS         KeySource     // the API server's /openid/v1/jwks, or a copy
	MaxLifetime  time.Duration // of a token, exp - iat; 0: 24 h
	RequireBound string        // BoundPod or BoundNone; "": BoundPod
	Namespaces   []string      // only these; none: all
	Default      bool          // tried first when a request sends no clusterid
}

// OIDCConfig is another issuer of tokens. Its identities are
// spiffe://<trust domain><PathPrefix>/<value of Claim>.
type OIDCConfig struct {
	Name          string            // for metrics and messages
	Issuer        string            // equal to the claim iss, byte by byte
	Audiences     []string          // one of them must be in the claim aud
	JWKS          KeySource         // its jwks_uri; nothing is discovered
	MaxLifetime   time.Duration     // of a token, exp - iat; 0: 1 h
	PathPrefix    string            // such as "/ci"; what the issuer can name lies below
	Claim         string            // a string claim whose value is a legal SPIFFE path; "": sub
	RequireClaims map[string]string // string claims that must be equal
}

// KeySource is where the keys of an issuer come from: exactly one of File, URL
// and Static.
type KeySource struct {
	File      string        // read again when it changes
	URL       string        // https
	CAFile    string        // PEM anchors for URL; required with it, the system's are not used
	TokenFile string        // bearer token for URL, read at each fetch; "": none
	Static    []byte        // a JWKS that never changes
	Refresh   time.Duration // 0: 5 min for a URL, 10 s for a file
	MaxAge    time.Duration // keys not seen at the source for so long are dropped; at least 1 h, 0: never
}

// check finds what cannot work, before anything is started.
func (c *Config) check() error {
	switch {
	case c.TrustDomain.IsZero():
		return errors.New("no trust domain")
	case c.Now == nil:
		return errors.New("no clock")
	case c.Leeway < 0 || c.Leeway > maxLeeway:
		return fmt.Errorf("leeway %s is not between 0 and %s", c.Leeway, maxLeeway)
	}
	names, issuers, defaults := make(map[string]bool), make(map[string]bool), 0
	for i := range c.Kubernetes {
		k := &c.Kubernetes[i]
		if err := k.check(c.HTTPClient != nil); err != nil {
			return fmt.Errorf("cluster %q: %w", k.Cluster, err)
		}
		if names[k.Cluster] {
			return fmt.Errorf("the name %q is there twice", k.Cluster)
		}
		names[k.Cluster], issuers[k.Issuer] = true, true
		if k.Default {
			defaults++
		}
	}
	if defaults > 1 {
		return errors.New("more than one default cluster")
	}
	for i := range c.OIDC {
		o := &c.OIDC[i]
		if err := o.check(c); err != nil {
			return fmt.Errorf("OIDC provider %q: %w", o.Name, err)
		}
		if names[o.Name] {
			return fmt.Errorf("the name %q is there twice", o.Name)
		}
		// A token's issuer alone chooses its provider.
		if issuers[o.Issuer] {
			return fmt.Errorf("OIDC provider %q: issuer %q is there twice", o.Name, o.Issuer)
		}
		names[o.Name], issuers[o.Issuer] = true, true
	}
	return nil
}

func (k *KubernetesConfig) check(testClient bool) error {
	if k.Cluster == "" {
		return errors.New("it has no name")
	}
	if k.RequireBound != "" && k.RequireBound != BoundPod && k.RequireBound != BoundNone {
		return fmt.Errorf("required binding %q is neither pod nor none", k.RequireBound)
	}
	for _, namespace := range k.Namespaces {
		if !isLabel(namespace) {
			return fmt.Errorf("%q is not the name of a namespace", namespace)
		}
	}
	return issuerConfig{k.Issuer, k.Audiences, k.MaxLifetime, k.JWKS}.check(testClient)
}

func (o *OIDCConfig) check(c *Config) error {
	if o.Name == "" {
		return errors.New("it has no name")
	}
	if o.PathPrefix == "" {
		// Without one, the issuer could name every workload of every cluster.
		return errors.New("it has no path prefix")
	}
	if o.PathPrefix[0] != '/' {
		// It would go on with the name of the trust domain.
		return fmt.Errorf("path prefix %q does not start with a slash", o.PathPrefix)
	}
	if _, err := ca.ParseIdentity(c.TrustDomain.URI() + o.PathPrefix + "/x"); err != nil {
		return fmt.Errorf("path prefix %q: %w", o.PathPrefix, err)
	}
	return issuerConfig{o.Issuer, o.Audiences, o.MaxLifetime, o.JWKS}.check(c.HTTPClient != nil)
}

// issuerConfig is what both kinds of issuer need.
type issuerConfig struct {
	issuer      string
	audiences   []string
	maxLifetime time.Duration
	keys        KeySource
}

func (c issuerConfig) check(testClient bool) error {
	switch {
	case c.issuer == "":
		return errors.New("it has no issuer")
	case len(c.audiences) == 0 || slices.Contains(c.audiences, ""):
		return errors.New("it has no audience, or an empty one")
	case c.maxLifetime < 0:
		return errors.New("maximum lifetime is negative")
	}
	if err := c.keys.check(); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if c.keys.URL == "" {
		return nil
	}
	u, err := url.Parse(c.keys.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Contains(c.keys.URL, "#") {
		return fmt.Errorf("keys: %q is not a plain https URL", c.keys.URL)
	}
	if c.keys.CAFile == "" && !testClient {
		return errors.New("keys: a URL needs a CA file; the system's anchors are not used")
	}
	return nil
}
