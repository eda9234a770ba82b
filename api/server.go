package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// Sizes of what a client may send and of what a connection costs. A CSR has at
// most 4 KiB and a token 16 KiB; small buffers keep an idle proxy cheap.
const (
	maxMessage     = 64 << 10
	maxHeaderList  = 32 << 10
	maxStreams     = 256
	readBuffer     = 0 // crypto/tls has a buffer of its own
	writeBuffer    = 4 << 10
	streamWorkers  = 64 // goroutines that keep their grown stacks from call to call
	windowSize     = 64 << 10
	handshakeLimit = 10 * time.Second
)

// ServerConfig is what a Server is made of.
type ServerConfig struct {
	TLS            *tls.Config // of fips.ServerTLS, with "h2"; nil with Plaintext
	NoALPN         bool        // also serve clients that offer no protocol, as Linkerd's proxies do
	Plaintext      bool        // HTTP/2 without TLS, on loopback addresses alone
	Metrics        *Metrics
	Log            *slog.Logger
	Now            func() time.Time
	Handshakes     int           // TLS handshakes at once
	RequestTimeout time.Duration // deadline of a unary call; proxies set none
	ConnectionAge  time.Duration // a connection is asked to reconnect after about so long; 0 never
	ConnectionIdle time.Duration // an idle connection is closed after so long; 0 never
}

// Server is the gRPC server on one port. Adapters register on Registrar
// before Serve.
type Server struct {
	c      ServerConfig
	grpc   *grpc.Server
	health *health.Server
	drain  context.Context // of everything that shall end when a drain begins
	begin  context.CancelFunc

	streams map[string]bool // the full names of methods that are streams, from Serve on
}

// NewServer makes a server that serves health and nothing else yet.
func NewServer(c ServerConfig) (*Server, error) {
	if (c.TLS == nil) != c.Plaintext || c.Metrics == nil || c.Log == nil || c.Now == nil || c.Handshakes <= 0 || c.RequestTimeout <= 0 {
		return nil, fmt.Errorf("server needs TLS, metrics, a log, a clock and limits above 0")
	}
	s := &Server{c: c, health: health.NewServer()}
	s.drain, s.begin = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.Creds(s.credentials()),
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(maxHeaderList), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ReadBufferSize(readBuffer), grpc.WriteBufferSize(writeBuffer),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.InitialWindowSize(windowSize), grpc.InitialConnWindowSize(windowSize),
		// Proxies ping every 30 s while a call is open, some faster; grpc-go's
		// default of 5 min would answer them with GOAWAY.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: c.ConnectionAge, MaxConnectionAgeGrace: 2 * c.RequestTimeout, MaxConnectionIdle: c.ConnectionIdle,
			Time: 60 * time.Second, Timeout: 20 * time.Second,
		}),
		grpc.ForceServerCodecV2(newCodec()), grpc.InTapHandle(s.bound), grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream), grpc.UnknownServiceHandler(unknownMethod),
	)
	healthpb.RegisterHealthServer(s.Registrar(), s.health)
	return s, nil
}

// credentials are how connections begin.
func (s *Server) credentials() credentials.TransportCredentials {
	if s.c.Plaintext {
		return insecure.NewCredentials()
	}
	inner := credentials.NewTLS(s.c.TLS)
	if s.c.NoALPN {
		inner = &tolerantTLS{TransportCredentials: inner, config: s.c.TLS}
	}
	return &gatedCredentials{
		TransportCredentials: inner, slots: make(chan struct{}, s.c.Handshakes),
		drain: s.drain, metrics: s.c.Metrics, log: s.c.Log, noALPN: s.c.NoALPN,
	}
}

// Registrar is where adapters register their services.
func (s *Server) Registrar() grpc.ServiceRegistrar { return registrar{s.grpc, s} }

// Draining is closed when a drain begins; streams end then.
func (s *Server) Draining() <-chan struct{} { return s.drain.Done() }

// SetServing is what health answers.
func (s *Server) SetServing(ok bool) {
	state := healthpb.HealthCheckResponse_NOT_SERVING
	if ok {
		state = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
}

// Serve serves on l until Drain or an error of the listener. Without TLS it serves
// on a loopback address and on no other: tokens travel over it.
func (s *Server) Serve(l net.Listener) error {
	if s.c.Plaintext && !isLoopback(l.Addr()) {
		return fmt.Errorf("serving %s: without TLS only a loopback address is served", l.Addr())
	}
	s.streams = make(map[string]bool)
	for service, info := range s.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			s.streams["/"+service+"/"+m.Name] = m.IsServerStream || m.IsClientStream
		}
	}
	err := s.grpc.Serve(l)
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) { // drained before it began
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	}
	return nil
}

// Drain stops taking connections and calls, lets calls in flight finish until ctx
// ends, and then closes everything. Streams end at once. It tells whether all
// could finish.
func (s *Server) Drain(ctx context.Context) bool {
	s.health.Shutdown()
	s.begin()
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
		return false
	}
}
