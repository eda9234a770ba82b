package linkerd

import (
	"context"
	"fmt"

	identityapi "github.com/linkerd/linkerd2-proxy-api/go/identity"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/ca"
)

// Front issues certificates; *api.Front is one.
type Front interface {
	Issue(ctx context.Context, o api.Order) (ca.Issued, error)
}

// Config is what the service is made of; all but OwnAudience is needed.
type Config struct {
	Front     Front
	Profile   string   // the profile that names service accounts under Mesh.AccountDomain
	Audiences []string // a token must be for one of them
	// OwnAudience also takes a token for its issuer itself, the audience that an API
	// server gives to tokens that name none. Linkerd's own issuer falls back to that.
	OwnAudience bool
}

// Register serves Linkerd's protocol on r.
func Register(r grpc.ServiceRegistrar, c Config) error {
	if c.Front == nil || c.Profile == "" || len(c.Audiences) == 0 {
		return fmt.Errorf("Linkerd's protocol needs a front, a profile and an audience")
	}
	door := authn.Door{Audiences: c.Audiences, OwnAudience: c.OwnAudience, ServiceAccounts: true}
	identityapi.RegisterIdentityServer(r, &service{front: c.Front, profile: c.Profile, door: door})
	return nil
}

type service struct {
	identityapi.UnimplementedIdentityServer
	front   Front
	profile string
	door    authn.Door
}

// Certify implements the protocol. The lifetime is the profile's: the request has
// no field for it.
func (s *service) Certify(ctx context.Context, r *identityapi.CertifyRequest) (*identityapi.CertifyResponse, error) {
	switch {
	case r.GetIdentity() == "":
		return nil, ca.Refuse(ca.ReasonRequest, "no identity")
	case len(r.GetCertificateSigningRequest()) == 0:
		return nil, ca.Refuse(ca.ReasonRequest, "no CSR")
	}
	issued, err := s.front.Issue(ctx, api.Order{
		Protocol: api.ProtocolLinkerd, CSR: r.GetCertificateSigningRequest(), Profile: s.profile, DNSName: r.GetIdentity(),
		Token: &api.MessageToken{Value: string(r.GetToken()), Door: s.door},
	})
	if err != nil {
		return nil, err
	}
	return &identityapi.CertifyResponse{
		LeafCertificate: issued.Leaf, IntermediateCertificates: issued.Chain, ValidUntil: timestamppb.New(issued.NotAfter),
	}, nil
}
