package istio

import (
	"context"
	"encoding/pem"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/ca"
)

// Keys of the request's metadata.
const (
	keyCertSigner   = "CertSigner"           // always sent by sidecars, often empty
	keyImpersonated = "ImpersonatedIdentity" // sent by ztunnel
)

// Front issues certificates; *api.Front is one.
type Front interface {
	Issue(ctx context.Context, o api.Order) (ca.Issued, error)
}

// Register serves Istio's protocol on r.
func Register(r grpc.ServiceRegistrar, front Front) {
	securityapi.RegisterIstioCertificateServiceServer(r, &service{front: front})
}

type service struct {
	securityapi.UnimplementedIstioCertificateServiceServer
	front Front
	tail  atomic.Pointer[chainTail]
}

// CreateCertificate implements the protocol.
func (s *service) CreateCertificate(ctx context.Context, r *securityapi.IstioCertificateRequest) (*securityapi.IstioCertificateResponse, error) {
	profile, err := readMetadata(r.GetMetadata())
	if err != nil {
		return nil, err
	}
	der, err := ca.DecodeCSRPEM([]byte(r.GetCsr()))
	if err != nil {
		return nil, err
	}
	issued, err := s.front.Issue(ctx, api.Order{
		Protocol: api.ProtocolIstio, CSR: der, TTL: lifetime(r.GetValidityDuration()), Profile: profile,
	})
	if err != nil {
		return nil, err
	}
	return &securityapi.IstioCertificateResponse{CertChain: s.chain(issued)}, nil
}

// readMetadata takes the profile from CertSigner; a name of Kubernetes' form is
// refused by policy as any unknown profile is. Whoever asks for another identity,
// in whatever spelling, is refused rather than given its own.
func readMetadata(m *structpb.Struct) (profile string, err error) {
	for key, value := range m.GetFields() {
		if name, isText := text(value); strings.EqualFold(key, keyImpersonated) && (!isText || name != "") {
			return "", ca.Refuse(ca.ReasonImpersonation, "metadata %s is set", keyImpersonated)
		}
	}
	signer, isSet := m.GetFields()[keyCertSigner]
	profile, isText := text(signer)
	if isSet && !isText {
		return "", ca.Refuse(ca.ReasonRequest, "metadata %s is not a string", keyCertSigner)
	}
	return profile, nil
}

func text(v *structpb.Value) (string, bool) {
	_, ok := v.GetKind().(*structpb.Value_StringValue)
	return v.GetStringValue(), ok
}

// lifetime turns seconds into a duration: nothing asked for or less gives the
// default, as istiod does, and what overflows is cut, as the profile cuts it anyway.
func lifetime(seconds int64) time.Duration {
	switch {
	case seconds <= 0:
		return 0
	case seconds > math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return time.Duration(seconds) * time.Second
}

// chainTail is what follows the leaf, the same for every leaf of one intermediate
// and one bundle.
type chainTail struct {
	intermediate *ca.Intermediate
	bundle       *ca.Bundle
	elements     []string
}

// chain has the shape that pilot-agent and ztunnel read: the leaf, then one
// intermediate per element, then all roots concatenated in the last element,
// byte for byte the same until the bundle changes.
func (s *service) chain(issued ca.Issued) []string {
	tail := s.tail.Load()
	if tail == nil || tail.intermediate != issued.Intermediate || tail.bundle != issued.Bundle {
		tail = newChainTail(issued)
		s.tail.Store(tail)
	}
	return append([]string{encode(issued.Leaf)}, tail.elements...)
}

func newChainTail(issued ca.Issued) *chainTail {
	tail := &chainTail{intermediate: issued.Intermediate, bundle: issued.Bundle}
	for _, der := range issued.Chain {
		tail.elements = append(tail.elements, encode(der))
	}
	tail.elements = append(tail.elements, string(issued.Bundle.PEM()))
	return tail
}

func encode(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
