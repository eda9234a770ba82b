package upstream

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// DefaultTimeout bounds a call. A token makes an RSA key in many seconds.
const DefaultTimeout = 30 * time.Second

// Config is what a Store works with.
type Config struct {
	Client  upstreamv1.UpstreamClient // over a connection of api/upstream.Dial
	Policy  fips.Policy
	Timeout time.Duration // of one call; 0 means DefaultTimeout
}

// Store asks an upstream for keys. It implements ca.KeyStore and is safe for
// concurrent use.
type Store struct{ c Config }

var _ ca.KeyStore = (*Store)(nil)

// New checks c. It does not call the upstream.
func New(c Config) (*Store, error) {
	if c.Client == nil || c.Policy.Name() == "" {
		return nil, fmt.Errorf("upstream key store needs a client and a policy")
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return &Store{c: c}, nil
}

// Create implements ca.KeyStore. A name that exists satisfies
// errors.Is(err, fs.ErrExist).
func (s *Store) Create(ctx context.Context, name string) (ca.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	defer cancel()
	answer, err := s.c.Client.CreateKey(ctx, &upstreamv1.CreateKeyRequest{Name: name})
	if err != nil {
		return nil, upstream.FromStatus(ctx, "creating key "+name, err)
	}
	return s.key(name, answer)
}

// Open implements ca.KeyStore.
func (s *Store) Open(ctx context.Context, name string) (ca.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	defer cancel()
	answer, err := s.c.Client.GetPublicKey(ctx, &upstreamv1.GetPublicKeyRequest{Name: name})
	if err != nil {
		return nil, upstream.FromStatus(ctx, "opening key "+name, err)
	}
	return s.key(name, answer)
}

// Destroy implements ca.KeyStore.
func (s *Store) Destroy(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	defer cancel()
	_, err := s.c.Client.DestroyKey(ctx, &upstreamv1.DestroyKeyRequest{Name: name})
	return upstream.FromStatus(ctx, "destroying key "+name, err)
}

// key judges the public key that came back.
func (s *Store) key(name string, answer *upstreamv1.PublicKey) (ca.Key, error) {
	public, err := x509.ParsePKIXPublicKey(answer.GetSpki())
	if err != nil {
		return nil, ca.Refuse(ca.ReasonRootUnavailable, "key %s: reading its public key: %w", name, err)
	}
	for _, d := range []fips.Decision{
		s.c.Policy.CheckKey(public, fips.UseCA, time.Time{}),
		s.c.Policy.CheckSPKI(answer.GetSpki()),
	} {
		if !d.Allow {
			return nil, ca.Refuse(ca.ReasonRootUnavailable, "key %s: %s: %s", name, d.Code, d.Detail)
		}
	}
	scheme, err := s.c.Policy.SchemeFor(public)
	if err != nil {
		return nil, ca.Refuse(ca.ReasonRootUnavailable, "key %s: %w", name, err)
	}
	return newKey(s.c, name, public, scheme)
}
