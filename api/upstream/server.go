package upstream

import (
	"context"
	"crypto"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	upstreamv1 "github.com/kedge-ca/kedge/api/kedge/upstream/v1"
	"github.com/kedge-ca/kedge/api/peercred"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Bounds of a server. A request is a CSR or a digest; what stands behind serves
// one authority, not its workloads.
const (
	maxRequest     = 64 << 10
	maxStreams     = 64
	maxRootCalls   = 4 // at once; a root that hangs holds no more than these
	maxErrorDetail = 512
)

// Config is what a server works with. Root or Keys may be missing, and then its
// calls are unimplemented; everything else is needed.
type Config struct {
	TrustDomain ca.TrustDomain
	Root        ca.Root
	Keys        ca.KeyStore
	// RootKeys are keys that a name of Keys might reach and that must not sign
	// what a caller chooses: the root's, where it lies in the same token.
	RootKeys []crypto.PublicKey
	Policy   fips.Policy
	Users    []uint32 // who may call
	Now      func() time.Time
	// Done is told of every call when it has ended; it may be called at once from
	// many goroutines.
	Done func(Call)
}

// Call is one call that has ended.
type Call struct {
	Method string
	User   uint32
	Took   time.Duration
	Err    error // nil, or a status with the detail
	Panic  []byte
}

// service is the API over a Config.
type service struct {
	upstreamv1.UnimplementedUpstreamServer
	c         Config
	rootCalls chan struct{}
	opened    sync.Map // name to ca.Key
	// destroying keeps a key that is opened meanwhile from outliving its
	// destruction in opened. A signature with a key that is there takes no lock.
	destroying sync.RWMutex
}

// NewServer checks c and makes a gRPC server, to be served on a socket that
// peercred.Listen made.
func NewServer(c Config) (*grpc.Server, error) {
	switch {
	case c.TrustDomain.IsZero() || c.Now == nil || c.Done == nil || c.Policy.Name() == "":
		return nil, fmt.Errorf("upstream server needs a trust domain, a policy, a clock and a listener to its calls")
	case c.Root == nil && c.Keys == nil:
		return nil, fmt.Errorf("upstream server has neither a root nor keys to serve")
	case len(c.Users) == 0:
		return nil, fmt.Errorf("upstream server needs a user who may call")
	}
	c.Users = slices.Clone(c.Users)
	s := &service{c: c, rootCalls: make(chan struct{}, maxRootCalls)}
	server := grpc.NewServer(
		grpc.Creds(peercred.Credentials(peercred.Config{
			AllowClient: func(uid uint32) bool { return slices.Contains(c.Users, uid) },
		})),
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxSendMsgSize(MaxAnswer), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Minute}),
		grpc.UnaryInterceptor(s.intercept),
	)
	upstreamv1.RegisterUpstreamServer(server, s)
	return server, nil
}

// intercept makes every error a status, stops panics and tells of the call.
func (s *service) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	call := Call{Method: info.FullMethod}
	call.User, _ = peercred.UID(ctx)
	began := s.c.Now()
	defer func() {
		if p := recover(); p != nil {
			call.Panic = append(fmt.Appendf(nil, "%v\n", p), debug.Stack()...)
			resp, err = nil, status.Error(codes.Internal, "the upstream failed; its log has the details")
		}
		call.Took, call.Err = s.c.Now().Sub(began), err
		s.c.Done(call)
	}()
	resp, err = handler(ctx, req)
	return resp, toStatus(err)
}

// enter waits for a place among the calls to the root.
func (s *service) enter(ctx context.Context) (leave func(), err error) {
	select {
	case s.rootCalls <- struct{}{}:
		return func() { <-s.rootCalls }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
