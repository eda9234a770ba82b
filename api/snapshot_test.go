package api_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// TestEachAnswerIsOfOneSnapshot: while root, intermediate and bundle change under
// load, every answer still verifies by itself, and no call fails.
func TestEachAnswerIsOfOneSnapshot(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	conn := s.Dial(t, nil)
	kedge, istio := kedgev1.NewCertificateAuthorityClient(conn), securityapi.NewIstioCertificateServiceClient(conn)
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for i := range 4 {
		ctx, csr := s.As(t, "w"+strconv.Itoa(i)), apitest.CSR(t, "")
		text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
		callers.Go(func() {
			for more := true; more; {
				r, err := kedge.Issue(ctx, &kedgev1.IssueRequest{Csr: csr})
				if err == nil {
					err = verifyKedge(r)
				}
				answer, istioErr := istio.CreateCertificate(ctx, &securityapi.IstioCertificateRequest{Csr: text})
				if istioErr == nil {
					istioErr = verifyIstio(answer.GetCertChain())
				}
				if err := errors.Join(err, istioErr); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-stop:
					more = false
				default:
				}
			}
		})
	}
	for range 30 {
		s.Rotate(t)
	}
	close(stop)
	callers.Wait()
}

func verifyKedge(r *kedgev1.IssueResponse) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range r.GetBundle().GetAnchors() {
		if err := add(roots, a.GetCertificate()); err != nil {
			return err
		}
	}
	for _, der := range r.GetChain() {
		if err := add(between, der); err != nil {
			return err
		}
	}
	return verify(r.GetCertificate(), between, roots)
}

func verifyIstio(chain []string) error {
	if len(chain) != 3 {
		return errors.New("not three elements")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !between.AppendCertsFromPEM([]byte(chain[1])) || !roots.AppendCertsFromPEM([]byte(chain[2])) {
		return errors.New("no PEM")
	}
	leaf, rest := pem.Decode([]byte(chain[0]))
	if leaf == nil || len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("the first element is not one certificate")
	}
	return verify(leaf.Bytes, between, roots)
}

func add(pool *x509.CertPool, der []byte) error {
	c, err := x509.ParseCertificate(der)
	if err == nil {
		pool.AddCert(c)
	}
	return err
}

func verify(der []byte, between, roots *x509.CertPool) error {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

// notReady is an authority that has nothing yet, as before ca init.
type notReady struct{ api.Issuer }

func (notReady) Issue(context.Context, ca.Caller, ca.Request) (ca.Issued, error) {
	return ca.Issued{}, ca.Refuse(ca.ReasonNotReady, "there is no intermediate yet")
}

func (notReady) Bundle() *ca.Bundle { return nil }

// TestAServerWithoutAnAuthorityRefusesByName, whatever proves the caller.
func TestAServerWithoutAnAuthorityRefusesByName(t *testing.T) {
	s := apitest.New(t, apitest.Options{Issuer: func(real api.Issuer) api.Issuer { return &switched{now: real, next: notReady{real}} }})
	own := kedgev1.NewCertificateAuthorityClient(s.Dial(t, s.Certificate(t, "a")))
	request := &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")}
	for name, call := range map[string]func() error{
		"by token":       func() error { _, err := issue(t, s, s.As(t, "a")); return err },
		"by certificate": func() error { _, err := own.Renew(t.Context(), request); return err },
		"by both":        func() error { _, err := own.Issue(s.As(t, "a"), request); return err },
	} {
		r := apitest.RequireRefused(t, ca.ReasonNotReady, call())
		require.Equal(t, codes.Unavailable, r.Code, name)
		require.NotNil(t, r.Retry, name)
	}
	require.Zero(t, counter(t, s, "kedge_panics_total"))
}

// switched is one authority for the first certificate and then another.
type switched struct {
	mu        sync.Mutex
	now, next api.Issuer
}

func (s *switched) current() api.Issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *switched) Issue(ctx context.Context, caller ca.Caller, r ca.Request) (ca.Issued, error) {
	issued, err := s.current().Issue(ctx, caller, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.next
	return issued, err
}

func (s *switched) Bundle() *ca.Bundle { return s.current().Bundle() }

func (s *switched) Policy() fips.Policy { return s.current().Policy() }
