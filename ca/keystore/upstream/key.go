package upstream

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"

	"github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// key is a private key that the upstream holds.
type key struct {
	c      Config
	name   string
	public crypto.PublicKey
	scheme fips.SignatureScheme
	pin    [32]byte // SHA-256 of the SubjectPublicKeyInfo
}

func newKey(c Config, name string, public crypto.PublicKey, scheme fips.SignatureScheme) (*key, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, ca.Refuse(ca.ReasonRootUnavailable, "key %s: encoding its public key: %w", name, err)
	}
	return &key{c: c, name: name, public: public, scheme: scheme, pin: sha256.Sum256(spki)}, nil
}

// Name implements ca.Key.
func (k *key) Name() string { return k.name }

// Public implements crypto.Signer.
func (k *key) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer. The random source is the upstream's; the call is
// bounded by the store's timeout, because crypto.Signer knows no context.
func (k *key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts == nil || opts.HashFunc() != k.scheme.Hash || len(digest) != k.scheme.Hash.Size() {
		return nil, fmt.Errorf("signing with key %s: it signs digests of %s only", k.name, k.scheme.Hash)
	}
	if _, isPSS := opts.(*rsa.PSSOptions); isPSS {
		return nil, fmt.Errorf("signing with key %s: RSA-PSS is not offered", k.name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.c.Timeout)
	defer cancel()
	answer, err := k.c.Client.SignDigest(ctx, &upstreamv1.SignDigestRequest{
		Name: k.name, Digest: digest, Hash: upstream.HashOf(k.scheme), SpkiSha256: k.pin[:],
	})
	if err != nil {
		return nil, upstream.FromStatus(ctx, "signing with key "+k.name, err)
	}
	if err := fips.VerifyDigest(k.public, k.scheme, digest, answer.GetSignature()); err != nil {
		return nil, ca.Refuse(ca.ReasonRootUnavailable, "signing with key %s: the upstream's signature: %w", k.name, err)
	}
	return answer.GetSignature(), nil
}
