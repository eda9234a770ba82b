package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// servingCertificate is the certificate of our own TLS listeners. The authority
// issues it like any leaf, with a record; its key lives in memory only.
type servingCertificate struct {
	authority *ca.Authority
	identity  ca.Identity
	now       func() time.Time
	current   atomic.Pointer[serving]

	mu    sync.Mutex // guards retry; never held across I/O
	retry backoff
}

type serving struct {
	certificate *tls.Certificate
	leaf        *x509.Certificate
	issuer      string
	bundleSeq   uint64
	renewAt     time.Time
}

// Certificate is what the TLS layer presents; an error before there is one.
func (s *servingCertificate) Certificate() (*tls.Certificate, error) {
	current := s.current.Load()
	if current == nil {
		return nil, fmt.Errorf("the server has no certificate yet; see ca check")
	}
	return current.certificate, nil
}

// orStopgap presents what Certificate does, and before there is one, a self-signed
// certificate that names nobody: a probe of health reads through it that nothing can
// be issued, when everything has expired. Whoever verifies refuses it. The TLS port
// of the APIs never presents it.
func (s *servingCertificate) orStopgap() (func() (*tls.Certificate, error), error) {
	policy := s.authority.Policy()
	key, err := fips.GenerateKey(policy.DefaultKeyType())
	if err != nil {
		return nil, fmt.Errorf("making the stopgap's key: %w", err)
	}
	leaf, err := ca.NewStopgapCertificate(key, policy, s.now())
	if err != nil {
		return nil, err
	}
	stopgap := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	return func() (*tls.Certificate, error) {
		if current := s.current.Load(); current != nil {
			return current.certificate, nil
		}
		return stopgap, nil
	}, nil
}

// Signer is the key and chain of the current certificate, for signed reports.
func (s *servingCertificate) Signer() (crypto.Signer, [][]byte, error) {
	certificate, err := s.Certificate()
	if err != nil {
		return nil, nil, err
	}
	return certificate.PrivateKey.(crypto.Signer), certificate.Certificate, nil
}

// due tells whether a new certificate is needed: none yet, half of its life
// over, the issuer or the bundle has changed, or it begins in the future because
// the clock was ahead when it was made.
func (s *servingCertificate) due() bool {
	current, issuer, bundle := s.current.Load(), s.authority.Intermediate(), s.authority.Bundle()
	if issuer == nil || bundle == nil {
		return false
	}
	now := s.now()
	return current == nil || !now.Before(current.renewAt) || now.Before(current.leaf.NotBefore) ||
		current.issuer != issuer.KeyID() || current.bundleSeq != bundle.Sequence()
}

// mayRetry tells whether enough time has passed since attempts that failed.
func (s *servingCertificate) mayRetry() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retry.ready(s.now())
}

// retryNow forgets attempts that failed, because their cause may have gone.
func (s *servingCertificate) retryNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry = backoff{}
}

// unservedAtMost is the longest wait between attempts while there is no certificate
// that lives, or not for long: no proxy can connect then.
const unservedAtMost = 30 * time.Second

// failed spaces the next attempt: by no more than a quarter of what the certificate has
// left to live.
func (s *servingCertificate) failed() {
	now, limit := s.now(), unservedAtMost
	if current := s.current.Load(); current != nil {
		limit = min(retryAtMost, max(limit, current.leaf.NotAfter.Sub(now)/4))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry.failed(now, limit)
}

// outdate makes a new certificate due at once, because its profile has changed.
func (s *servingCertificate) outdate() {
	s.retryNow()
	if current := s.current.Load(); current != nil {
		old := *current
		old.renewAt = time.Time{}
		s.current.CompareAndSwap(current, &old) // a newer one is of the new profile
	}
}

// renew makes a new key and has the authority issue for it. The old certificate
// stays in use when that fails.
func (s *servingCertificate) renew(ctx context.Context) error {
	fresh, err := s.obtain(ctx)
	if err != nil {
		s.failed()
		return err
	}
	s.current.Store(fresh)
	s.retryNow()
	return nil
}

func (s *servingCertificate) obtain(ctx context.Context) (*serving, error) {
	// P-256, which every client of every mesh accepts, but where the profile forbids it.
	key, err := fips.GenerateKey(s.authority.Policy().DefaultKeyType())
	if err != nil {
		return nil, fmt.Errorf("making the server's key: %w", err)
	}
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making the server's request: %w", err)
	}
	request, err := ca.ParseRequest(csr, ca.RequestOptions{Now: s.now(), Profile: serverProfile}, s.authority.Policy())
	if err != nil {
		return nil, fmt.Errorf("reading the server's request: %w", err)
	}
	caller, err := ca.NewCaller(s.identity, ca.Evidence{Method: ca.MethodLocal, Subject: "this server"})
	if err != nil {
		return nil, fmt.Errorf("naming this server: %w", err)
	}
	issued, err := s.authority.Issue(ctx, caller, request)
	if err != nil {
		return nil, fmt.Errorf("issuing the server's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(issued.Leaf)
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate: %w", err)
	}
	return &serving{
		certificate: &tls.Certificate{Certificate: append([][]byte{issued.Leaf}, issued.Chain...), PrivateKey: key, Leaf: leaf},
		leaf:        leaf, issuer: issued.Intermediate.KeyID(), bundleSeq: issued.Bundle.Sequence(),
		// From the certificate's dates alone: a time that s.now gives counts on by the
		// monotonic clock, which stands still while a machine is suspended.
		renewAt: leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 2),
	}, nil
}
