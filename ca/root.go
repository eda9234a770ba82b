package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"time"
)

// Root is what stands above an intermediate: a local key, Vault, an HSM.
//
// Anchor returns the trust anchor under which SignIntermediate signs.
// SignIntermediate signs the key of a PKCS#10 request (DER, proof of possession
// included) and returns the chain, the new intermediate first, without the
// anchor. The caller checks what comes back; implementations need not be
// trusted to have honoured the request. Both may block on a network and honour
// ctx. Neither is ever called on the path of a workload's request.
type Root interface {
	Anchor(ctx context.Context) (*x509.Certificate, error)
	SignIntermediate(ctx context.Context, csr []byte, p IntermediateRequest) ([]*x509.Certificate, error)
}

// RootFor finds the root of an anchor. Where none of the anchor is known it returns
// one of another, which the caller tells by its Anchor, or an error. It may block on
// a network and honours ctx.
type RootFor func(ctx context.Context, anchor AnchorID) (Root, error)

// OneOf finds among roots, of which there is at least one. A root that cannot be
// asked for its anchor is in nobody's way while another is the one.
func OneOf(roots ...Root) RootFor {
	return func(ctx context.Context, anchor AnchorID) (Root, error) {
		var failed []error
		for _, r := range roots {
			cert, err := r.Anchor(ctx)
			if err != nil {
				failed = append(failed, err)
			} else if AnchorIDOf(cert) == anchor {
				return r, nil
			}
		}
		return roots[0], errors.Join(failed...)
	}
}

// IntermediateRequest is what an intermediate shall be.
type IntermediateRequest struct {
	TrustDomain TrustDomain
	NotBefore   time.Time
	NotAfter    time.Time
}

// Key is a private key that a KeyStore holds.
type Key interface {
	crypto.Signer
	Name() string
}

// KeyStore holds private keys.
//
// Create makes a new key and returns only when the key would survive a crash;
// a name that exists is an error and changes nothing. Open returns an existing
// key, or an *Error with ReasonNotFound. Destroy removes a key for good; a key
// that does not exist is no error. All are safe for concurrent use.
type KeyStore interface {
	Create(ctx context.Context, name string) (Key, error)
	Open(ctx context.Context, name string) (Key, error)
	Destroy(ctx context.Context, name string) error
}
