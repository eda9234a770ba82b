package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Issuer is what the front needs of the authority; *ca.Authority is one.
type Issuer interface {
	Issue(ctx context.Context, caller ca.Caller, r ca.Request) (ca.Issued, error)
	Bundle() *ca.Bundle
	Policy() fips.Policy
}

// Authenticator is what the front needs of api/authn; *authn.Authenticator is one.
type Authenticator interface {
	Authenticate(ctx context.Context, c authn.Credentials, bundle *ca.Bundle) (ca.Caller, error)
	AuthenticateCertificate(ctx context.Context, c authn.Credentials, bundle *ca.Bundle) (ca.Caller, error)
	GiveBack(ctx context.Context, caller ca.Caller) error
}

// Order is a request for a certificate, off the wire and not yet judged.
type Order struct {
	Protocol        Protocol
	CSR             []byte        // DER
	TTL             time.Duration // 0 asks for the default
	Profile         string        // "" leaves the choice to policy
	DNSName         string        // asked for beside the CSR, which must name it; "": a CSR for a SPIFFE ID
	CertificateOnly bool          // renewal: a token is not looked at
	Token           *MessageToken // the token of a protocol that carries it in its message; nil: it is in a header
}

// MessageToken is a token that came in a message. Headers are not looked at then.
type MessageToken struct {
	Value string
	Door  authn.Door
}

// FrontConfig is what a Front is made of; all fields are needed.
type FrontConfig struct {
	Issuer        Issuer
	Authenticator func() Authenticator // the one in force; a reload replaces it
	Quota         *Quota
	Gate          *Gate
	Metrics       *Metrics
	Now           func() time.Time
}

// Front is the path of every order, whatever protocol it came by: who is
// calling, may it call so often, what does it ask for, sign.
type Front struct{ c FrontConfig }

// NewFront checks c.
func NewFront(c FrontConfig) (*Front, error) {
	if c.Issuer == nil || c.Authenticator == nil || c.Quota == nil || c.Gate == nil || c.Metrics == nil || c.Now == nil {
		return nil, fmt.Errorf("front needs an issuer, an authenticator, a quota, a gate, metrics and a clock")
	}
	return &Front{c: c}, nil
}

// maxProfile is the length of the longest name that a profile can have.
const maxProfile = 63

// maxDNSName is the length of the longest DNS name, as text (RFC 1035 §2.3.4).
const maxDNSName = 253

// check refuses by size alone, before anything is computed or logged.
func (o *Order) check() error {
	switch {
	case len(o.CSR) > ca.MaxCSRDER:
		return ca.Refuse(ca.ReasonCSRTooLarge, "DER of %d bytes, limit %d", len(o.CSR), ca.MaxCSRDER)
	case len(o.Profile) > maxProfile:
		return ca.Refuse(ca.ReasonProfile, "name of %d bytes, limit %d", len(o.Profile), maxProfile)
	case len(o.DNSName) > maxDNSName:
		return ca.Refuse(ca.ReasonRequest, "DNS name of %d bytes, limit %d", len(o.DNSName), maxDNSName)
	case o.Token != nil && o.Token.Value == "":
		return ca.Refuse(ca.ReasonNoCredentials, "no token in the message")
	}
	return nil
}

// Issue fills the order for whoever sent it. Errors are *ca.Error, but for the
// end of ctx.
func (f *Front) Issue(ctx context.Context, o Order) (ca.Issued, error) {
	if err := o.check(); err != nil {
		return ca.Issued{}, err
	}
	leave, err := f.c.Gate.enter(ctx, f.c.Now())
	if err != nil {
		return ca.Issued{}, err
	}
	defer func() { leave(f.c.Now()) }()
	issued, err := f.fill(ctx, o)
	return issued, reasoned(err)
}

// reasoned gives a reason to an error that has none. The status that a backend
// answered with would else pass for one of our own gRPC's, and its text reach a
// client.
func reasoned(err error) error {
	var refused *ca.Error
	if err == nil || errors.As(err, &refused) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &ca.Error{Reason: ca.ReasonInternal, Err: err}
}

func (f *Front) fill(ctx context.Context, o Order) (ca.Issued, error) {
	start := f.c.Now()
	by := f.c.Authenticator()
	caller, err := f.authenticate(ctx, by, o)
	authenticated := f.c.Now()
	f.c.Metrics.stageAuthn.Observe(authenticated.Sub(start).Seconds())
	if err != nil {
		return ca.Issued{}, err
	}
	issued, err := f.issue(ctx, o, caller, authenticated)
	if err != nil {
		return ca.Issued{}, giveBack(ctx, by, caller, err)
	}
	f.c.Metrics.issued(issued.Profile, caller.Evidence().Method, o.Protocol)
	return issued, nil
}

// giveBackWithin is how long an order that failed waits for the store.
const giveBackWithin = 5 * time.Second

// giveBack makes a one-time token good again when nothing came of it: the holder
// tries again, also where the outage of a key store or a policy of ours was the cause.
// It adds to err, and never takes its place.
func giveBack(ctx context.Context, by Authenticator, caller ca.Caller, err error) error {
	if caller.Evidence().Method != ca.MethodJoinToken {
		return err
	}
	// The caller may be gone already.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackWithin)
	defer cancel()
	if failed := by.GiveBack(ctx, caller); failed != nil {
		return fmt.Errorf("%w (and the join token could not be given back: %w)", err, failed)
	}
	return err
}

// issue judges the order of a caller and has it signed. An error means that there is
// no certificate.
func (f *Front) issue(ctx context.Context, o Order, caller ca.Caller, now time.Time) (ca.Issued, error) {
	if err := f.c.Quota.spend(caller.Identity(), now); err != nil {
		return ca.Issued{}, err
	}
	request, err := ca.ParseRequest(o.CSR, ca.RequestOptions{
		TTL: o.TTL, Profile: o.Profile, DNSName: o.DNSName, RequestID: RequestID(ctx), Now: now,
	}, f.c.Issuer.Policy())
	parsed := f.c.Now()
	f.c.Metrics.stageParse.Observe(parsed.Sub(now).Seconds())
	if err != nil {
		return ca.Issued{}, err
	}
	issued, err := f.c.Issuer.Issue(ctx, caller, request)
	f.c.Metrics.stageSign.Observe(f.c.Now().Sub(parsed).Seconds())
	return issued, err
}

// Caller is who the client certificate of the call proves, for services that issue
// nothing. Errors are *ca.Error.
func (f *Front) Caller(ctx context.Context) (ca.Caller, error) {
	return f.c.Authenticator().AuthenticateCertificate(ctx, connectionOf(ctx), f.c.Issuer.Bundle())
}

func (f *Front) authenticate(ctx context.Context, by Authenticator, o Order) (ca.Caller, error) {
	c := connectionOf(ctx)
	if o.CertificateOnly {
		return by.AuthenticateCertificate(ctx, c, f.c.Issuer.Bundle())
	}
	if o.Token != nil {
		c.Token, c.Door = o.Token.Value, o.Token.Door
	} else if err := readMetadata(ctx, &c); err != nil {
		return ca.Caller{}, err
	}
	return by.Authenticate(ctx, c, f.c.Issuer.Bundle())
}

// connectionOf is what the connection of a call says about the caller.
func connectionOf(ctx context.Context) authn.Credentials {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return authn.Credentials{}
	}
	return authn.Credentials{Peer: p.Addr.String(), TLS: tlsState(p)}
}

// readMetadata adds what the headers of a call say about the caller. Headers in
// which a proxy forwards somebody's identity are never looked at.
func readMetadata(ctx context.Context, c *authn.Credentials) (err error) {
	md, ok := metadata.FromIncomingContext(ctx)
	if !ok {
		return nil
	}
	if c.Token, err = bearer(md.Get("authorization")); err != nil {
		return err
	}
	switch ids := md.Get("clusterid"); len(ids) {
	case 0:
	case 1:
		c.ClusterID = ids[0]
	default:
		return ca.Refuse(ca.ReasonClusterUnknown, "%d cluster ids", len(ids))
	}
	return nil
}

func tlsState(p *peer.Peer) *tls.ConnectionState {
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	return &info.State
}

// bearer reads "Bearer <token>" (RFC 6750 §2.1; the scheme in any case, RFC 9110
// §11.1). Two headers are refused rather than one of them chosen.
func bearer(values []string) (string, error) {
	const scheme = "bearer "
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", ca.Refuse(ca.ReasonTokenMalformed, "%d authorization headers", len(values))
	case len(values[0]) <= len(scheme) || !equalFold(values[0][:len(scheme)], scheme):
		return "", ca.Refuse(ca.ReasonTokenMalformed, "authorization is not a bearer token")
	}
	return values[0][len(scheme):], nil
}

// equalFold compares ASCII without case; lower is lower-case.
func equalFold(s, lower string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
