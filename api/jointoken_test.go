package api_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/authn"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// oneToken has one join token, for whoever calls.
type oneToken struct {
	api.Authenticator
	spent atomic.Bool
	down  error         // of giving back
	back  chan struct{} // one for each attempt to give back
}

func (o *oneToken) Authenticate(context.Context, authn.Credentials, *ca.Bundle) (ca.Caller, error) {
	if !o.spent.CompareAndSwap(false, true) {
		return ca.Caller{}, ca.Refuse(ca.ReasonTokenUsed, "used")
	}
	identity, err := ca.ParseIdentity("spiffe://cluster.local/vm/db")
	if err != nil {
		return ca.Caller{}, err
	}
	return ca.NewCaller(identity, ca.Evidence{Method: ca.MethodJoinToken, TokenHash: strings.Repeat("0", 64)})
}

func (o *oneToken) GiveBack(ctx context.Context, caller ca.Caller) error {
	defer func() { o.back <- struct{}{} }()
	if err := errors.Join(o.down, ctx.Err()); err != nil {
		return err
	}
	if caller.Evidence().Method == ca.MethodJoinToken {
		o.spent.Store(false)
	}
	return nil
}

// hindered is an authority that does not come to sign.
type hindered struct {
	api.Issuer
	issue func(context.Context) error // nil goes on to the authority
}

func (h *hindered) Issue(ctx context.Context, caller ca.Caller, r ca.Request) (ca.Issued, error) {
	if h.issue != nil {
		return ca.Issued{}, h.issue(ctx)
	}
	return h.Issuer.Issue(ctx, caller, r)
}

// joining is a server with one join token whose authority is hindered.
func joining(t *testing.T, o apitest.Options) (client kedgev1.CertificateAuthorityClient, token *oneToken, authority *hindered) {
	t.Helper()
	token, authority = &oneToken{back: make(chan struct{}, 10)}, &hindered{}
	o.Authenticator = func(real api.Authenticator) api.Authenticator {
		token.Authenticator = real
		return token
	}
	o.Issuer = func(real api.Issuer) api.Issuer {
		authority.Issuer = real
		return authority
	}
	s := apitest.New(t, o)
	return kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)), token, authority
}

func refusing(reason ca.Reason) func(context.Context) error {
	return func(context.Context) error { return ca.Refuse(reason, "not now") }
}

// TestAJoinTokenIsSpentByACertificateOnly: whatever keeps the certificate from being
// made, the holder of the token tries again.
func TestAJoinTokenIsSpentByACertificateOnly(t *testing.T) {
	good := &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")}
	for name, row := range map[string]struct {
		options apitest.Options
		request *kedgev1.IssueRequest
		issue   func(context.Context) error
		reason  ca.Reason
	}{
		"the key does not sign":   {request: good, issue: refusing(ca.ReasonSigningFailed), reason: ca.ReasonSigningFailed},
		"the record is not kept":  {request: good, issue: refusing(ca.ReasonRecordFailed), reason: ca.ReasonRecordFailed},
		"no intermediate":         {request: good, issue: refusing(ca.ReasonNotReady), reason: ca.ReasonNotReady},
		"policy":                  {request: good, issue: refusing(ca.ReasonPolicy), reason: ca.ReasonPolicy},
		"an error without reason": {request: good, issue: func(context.Context) error { return errors.New("a bug") }, reason: ca.ReasonInternal},
		"a request of no use":     {request: &kedgev1.IssueRequest{Csr: []byte("no CSR")}, reason: ca.ReasonCSREncoding},
	} {
		t.Run(name, func(t *testing.T) {
			client, token, authority := joining(t, row.options)
			authority.issue = row.issue
			for range 2 {
				_, err := client.Issue(t.Context(), row.request)
				apitest.RequireRefused(t, row.reason, err)
			}
			authority.issue = nil
			_, err := client.Issue(t.Context(), good)
			require.NoError(t, err)
			_, err = client.Issue(t.Context(), good)
			apitest.RequireRefused(t, ca.ReasonTokenUsed, err)
			require.Len(t, token.back, 2, "nothing was given back but after a failure")
		})
	}
}

func TestAQuotaSpendsNoJoinToken(t *testing.T) {
	client, token, authority := joining(t, apitest.Options{Rate: 1e-9, Burst: 1})
	authority.issue = refusing(ca.ReasonSigningFailed)
	request := &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")}
	_, err := client.Issue(t.Context(), request)
	apitest.RequireRefused(t, ca.ReasonSigningFailed, err)
	_, err = client.Issue(t.Context(), request)
	apitest.RequireRefused(t, ca.ReasonIdentityQuota, err)
	require.False(t, token.spent.Load())
}

// TestAJoinTokenComesBackToOneWhoLeft: the call is over before the authority gives up.
func TestAJoinTokenComesBackToOneWhoLeft(t *testing.T) {
	client, token, authority := joining(t, apitest.Options{})
	authority.issue = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := client.Issue(ctx, &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
	require.Error(t, err)
	<-token.back
	require.False(t, token.spent.Load())
}

// TestATokenThatIsNotGivenBackHidesNoReason: the store may be away as well.
func TestATokenThatIsNotGivenBackHidesNoReason(t *testing.T) {
	client, token, authority := joining(t, apitest.Options{})
	authority.issue = refusing(ca.ReasonSigningFailed)
	token.down = ca.Refuse(ca.ReasonRecordFailed, "the store is away")
	request := &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")}
	_, err := client.Issue(t.Context(), request)
	apitest.RequireRefused(t, ca.ReasonSigningFailed, err)
	_, err = client.Issue(t.Context(), request)
	apitest.RequireRefused(t, ca.ReasonTokenUsed, err)
}
