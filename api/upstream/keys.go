package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	upstreamv1 "github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// CreateKey implements upstreamv1.UpstreamServer.
func (s *service) CreateKey(ctx context.Context, r *upstreamv1.CreateKeyRequest) (*upstreamv1.PublicKey, error) {
	if err := s.checkKeyName(r.GetName()); err != nil {
		return nil, err
	}
	key, err := s.c.Keys.Create(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	return s.publicKey(key)
}

// GetPublicKey implements upstreamv1.UpstreamServer.
func (s *service) GetPublicKey(ctx context.Context, r *upstreamv1.GetPublicKeyRequest) (*upstreamv1.PublicKey, error) {
	key, err := s.openKey(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	return s.publicKey(key)
}

// SignDigest implements upstreamv1.UpstreamServer.
func (s *service) SignDigest(ctx context.Context, r *upstreamv1.SignDigestRequest) (*upstreamv1.SignDigestResponse, error) {
	key, err := s.heldKey(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	answer, err := s.publicKey(key)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(answer.GetSpki()); subtle.ConstantTimeCompare(sum[:], r.GetSpkiSha256()) != 1 {
		return nil, status.Errorf(codes.FailedPrecondition, "key %s is another than the caller knows", r.GetName())
	}
	scheme, err := s.c.Policy.SchemeFor(key.Public())
	if err != nil {
		return nil, err
	}
	if HashOf(scheme) != r.GetHash() || len(r.GetDigest()) != scheme.Hash.Size() {
		return nil, status.Errorf(codes.InvalidArgument, "key %s signs %s, not %d bytes of %s", r.GetName(), scheme.Hash, len(r.GetDigest()), r.GetHash())
	}
	signature, err := fips.SignDigest(key, scheme, r.GetDigest())
	if err != nil {
		s.opened.Delete(r.GetName()) // a token that came back gives another handle
		return nil, fmt.Errorf("key %s: %w", r.GetName(), err)
	}
	return &upstreamv1.SignDigestResponse{Signature: signature}, nil
}

// DestroyKey implements upstreamv1.UpstreamServer.
func (s *service) DestroyKey(ctx context.Context, r *upstreamv1.DestroyKeyRequest) (*upstreamv1.DestroyKeyResponse, error) {
	if _, err := s.openKey(ctx, r.GetName()); err != nil && ca.ReasonOf(err) != ca.ReasonNotFound {
		return nil, err // also where the name reaches the root's key
	}
	s.destroying.Lock()
	defer s.destroying.Unlock()
	s.opened.Delete(r.GetName())
	if err := s.c.Keys.Destroy(ctx, r.GetName()); err != nil {
		return nil, err
	}
	return &upstreamv1.DestroyKeyResponse{}, nil
}

// heldKey is a key as it was opened before, or opened now: opening may take a
// derivation of a key or a search in a token.
func (s *service) heldKey(ctx context.Context, name string) (ca.Key, error) {
	if held, ok := s.opened.Load(name); ok {
		return held.(ca.Key), nil //nolint:forcetypeassert // nothing else is stored
	}
	return s.openKey(ctx, name)
}

// openKey opens a key by a name that was checked, unless it is the root's.
func (s *service) openKey(ctx context.Context, name string) (ca.Key, error) {
	if err := s.checkKeyName(name); err != nil {
		return nil, err
	}
	s.destroying.RLock()
	defer s.destroying.RUnlock()
	key, err := s.c.Keys.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, root := range s.c.RootKeys {
		if fips.PublicKeyEqual(root, key.Public()) {
			return nil, status.Errorf(codes.FailedPrecondition, "key %s is that of the root, which signs intermediates only", name)
		}
	}
	s.opened.Store(name, key)
	return key, nil
}

// publicKey is key on the wire, when policy allows it for a CA.
func (s *service) publicKey(key ca.Key) (*upstreamv1.PublicKey, error) {
	if d := s.c.Policy.CheckKey(key.Public(), fips.UseCA, time.Time{}); !d.Allow {
		return nil, status.Errorf(codes.FailedPrecondition, "key %s: %s: %s", key.Name(), d.Code, d.Detail)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	return &upstreamv1.PublicKey{Spki: spki}, nil
}

// checkKeyName keeps a name harmless wherever it ends up: in a path, a URI or the
// label of an object in a token.
func (s *service) checkKeyName(name string) error {
	if s.c.Keys == nil {
		return status.Error(codes.Unimplemented, "this upstream holds no keys")
	}
	if name == "" || len(name) > 64 {
		return status.Errorf(codes.InvalidArgument, "a key's name has 1 to 64 characters, not %d", len(name))
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return status.Errorf(codes.InvalidArgument, "key name %q has a character outside [a-z0-9-]", name)
		}
	}
	return nil
}
