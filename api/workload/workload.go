package workload

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	pb "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/agent"
	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/api/peercred"
	"github.com/kedge-ca/kedge/ca"
)

// Credentials are those of the socket: whoever may open it is asked for its user,
// group and process.
func Credentials() credentials.TransportCredentials {
	return peercred.Credentials(peercred.Config{AllowClient: func(uint32) bool { return true }})
}

// Attest is the identities of the process that made the call of ctx, at least one, or
// an error of gRPC: PermissionDenied for who is no workload, Unavailable when it cannot
// be known now.
func Attest(ctx context.Context, a *agent.Agent) ([]ca.Identity, error) {
	peer, ok := peercred.Peer(ctx)
	if !ok {
		return nil, status.Error(codes.PermissionDenied, "the connection does not say which process is at its other end")
	}
	identities, err := a.Attest(agent.Peer{UID: peer.UID, GID: peer.GID, PID: peer.PID})
	switch {
	case errors.Is(err, agent.ErrUnknown):
		return nil, status.Error(codes.PermissionDenied, "no identity is issued to this process")
	case err != nil:
		return nil, status.Error(codes.Unavailable, "who this process is cannot be known now")
	}
	return identities, nil
}

// Register adds the service to r, whose server has Credentials.
func Register(r grpc.ServiceRegistrar, a *agent.Agent) error {
	if a == nil {
		return errors.New("registering the Workload API: it needs an agent")
	}
	pb.RegisterSpiffeWorkloadAPIServer(r, &server{agent: a})
	return nil
}

type server struct {
	pb.UnimplementedSpiffeWorkloadAPIServer
	agent *agent.Agent
}

// header is what every call carries (SPIFFE Workload API §4.2): a browser or a proxy
// that was talked into a request does not send it.
const header = "workload.spiffe.io"

func (s *server) admit(ctx context.Context) ([]ca.Identity, error) {
	if err := checkHeader(ctx); err != nil {
		return nil, err
	}
	return Attest(ctx, s.agent)
}

func checkHeader(ctx context.Context) error {
	if got := metadata.ValueFromIncomingContext(ctx, header); len(got) != 1 || got[0] != "true" {
		return status.Error(codes.InvalidArgument, "the security header "+header+" is missing")
	}
	return nil
}

// FetchX509SVID implements the service.
func (s *server) FetchX509SVID(_ *pb.X509SVIDRequest, stream grpc.ServerStreamingServer[pb.X509SVIDResponse]) error {
	identities, err := s.admit(stream.Context())
	if err != nil {
		return err
	}
	return s.follow(stream.Context(), identities, func(g agent.Grant) error {
		if len(g.Certificates) == 0 {
			return nil
		}
		response, err := svids(g)
		if err != nil {
			return status.Error(codes.Internal, "the certificate cannot be encoded")
		}
		return stream.Send(response)
	})
}

// FetchX509Bundles implements the service.
func (s *server) FetchX509Bundles(_ *pb.X509BundlesRequest, stream grpc.ServerStreamingServer[pb.X509BundlesResponse]) error {
	if _, err := s.admit(stream.Context()); err != nil {
		return err
	}
	return s.follow(stream.Context(), nil, func(g agent.Grant) error { // bundles alone
		if g.Bundle == nil {
			return nil
		}
		return stream.Send(&pb.X509BundlesResponse{Bundles: map[string][]byte{s.agent.TrustDomain().URI(): concat(g.Bundle.Anchors)}})
	})
}

// follow calls each with what identities may have now, and at each change of that,
// until ctx ends.
func (s *server) follow(ctx context.Context, identities []ca.Identity, each func(agent.Grant) error) error {
	var sent agent.Grant
	for {
		grant, changed := s.agent.Grant(identities)
		if !grant.Equal(sent) {
			if err := each(grant); err != nil {
				return err
			}
			sent = grant
		}
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-changed:
		}
	}
}

// svids is the message for g, whose bundle is the newest: it holds what every
// certificate there verifies against: an anchor leaves it when nothing unexpired is
// under it, or when it is distrusted.
func svids(g agent.Grant) (*pb.X509SVIDResponse, error) {
	response, bundle := &pb.X509SVIDResponse{}, concat(g.Bundle.Anchors)
	for _, c := range g.Certificates {
		svid, err := svid(c, bundle)
		if err != nil {
			return nil, err
		}
		response.Svids = append(response.Svids, svid)
	}
	return response, nil
}

func svid(c *client.Certificate, bundle []byte) (*pb.X509SVID, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	return &pb.X509SVID{SpiffeId: c.Identity, X509Svid: concat(c.Chain), X509SvidKey: key, Bundle: bundle}, nil
}

// concat is the DER of certs, one after the other.
func concat(certs []*x509.Certificate) []byte {
	var der []byte
	for _, c := range certs {
		der = append(der, c.Raw...)
	}
	return der
}
