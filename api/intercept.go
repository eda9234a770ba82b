package api

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

type requestIDKey struct{}

// RequestID is the id of the call that ctx belongs to: 16 hex digits in the
// record, the log and the client's error; "" outside a call.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func withRequestID(ctx context.Context) (context.Context, string, error) {
	var raw [8]byte
	if err := fips.Random(raw[:]); err != nil {
		return ctx, "", err
	}
	id := hex.EncodeToString(raw[:])
	return context.WithValue(ctx, requestIDKey{}, id), id, nil
}

// bound ends a unary call whose body does not come: gRPC reads it before the
// interceptors, and else it would cost memory for as long as its connection
// lives, before anybody is authenticated. The deadline of unary begins when the
// body has come; twice that leaves room for both.
func (s *Server) bound(ctx context.Context, info *tap.Info) (context.Context, error) {
	if s.streams[info.FullMethodName] {
		return ctx, nil // see RecvMsg
	}
	ctx, cancel := context.WithTimeout(ctx, 2*s.c.RequestTimeout) //nolint:gosec // gRPC ends the parent with the call
	_ = cancel
	return ctx, nil
}

// unary is around every unary call: request id, deadline, panic guard, and the
// refusal that the client sees.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	ctx, id, err := withRequestID(ctx)
	if err != nil {
		return nil, s.refuse(ctx, info.FullMethod, id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.c.RequestTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, s.panicked(ctx, info.FullMethod, id, p)
		}
	}()
	resp, err = next(ctx, req)
	if err != nil {
		return nil, s.refuse(ctx, info.FullMethod, id, err)
	}
	return resp, nil
}

// stream is the same around streams, which have no deadline: they end when their
// client goes or the server drains, also one such as health's that knows of no
// drain.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	ctx, id, err := withRequestID(ss.Context())
	if err != nil {
		return s.refuse(ctx, info.FullMethod, id, err)
	}
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(ctx, info.FullMethod, id, p)
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.drain, cancel)()
	if info.FullMethod == kedgev1.CertificateAuthority_WatchBundle_FullMethodName {
		s.c.Metrics.watchers.Inc()
		defer s.c.Metrics.watchers.Dec()
	}
	err = next(srv, &streamWithContext{ServerStream: ss, ctx: ctx, wait: s.c.RequestTimeout})
	if err != nil && s.drain.Err() != nil && ss.Context().Err() == nil {
		err = ca.Refuse(ca.ReasonDraining, "drain")
	}
	if err != nil {
		return s.refuse(ss.Context(), info.FullMethod, id, err)
	}
	return nil
}

type streamWithContext struct {
	grpc.ServerStream
	ctx  context.Context
	wait time.Duration // for a message
}

func (s *streamWithContext) Context() context.Context { return s.ctx }

// RecvMsg ends with the context, which gRPC's own does not know, and waits no
// longer than unary calls do: each stream has one message from its client, the
// request.
func (s *streamWithContext) RecvMsg(m any) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.wait)
	defer cancel()
	received, e := make(chan error, 1), &envelope{message: m}
	go func() { received <- s.ServerStream.RecvMsg(e) }() // ends with the call at the latest
	select {
	case err := <-received:
		if err == nil {
			err = e.open()
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unknownMethod answers whatever is not registered, before it reads anything.
func unknownMethod(_ any, ss grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(ss)
	return ca.Refuse(ca.ReasonMethodUnknown, "method %q", clip(method))
}

// maxLogged is how many bytes of a method's name are logged: anybody can send a
// path of 32 KiB.
const maxLogged = 128

func clip(method string) string { return method[:min(len(method), maxLogged)] }

// refuse logs and counts err and makes what the client sees of it. A status that
// gRPC itself made, such as a deadline while a message came, passes.
func (s *Server) refuse(ctx context.Context, method, id string, err error) error {
	protocol := protocolOf(method)
	var reason *ca.Error
	if _, isStatus := status.FromError(err); isStatus && !errors.As(err, &reason) {
		return err
	}
	switch {
	case errors.As(err, &reason):
	case errors.Is(err, context.Canceled):
		return status.FromContextError(context.Canceled).Err()
	case errors.Is(err, context.DeadlineExceeded):
		err = &ca.Error{Reason: ca.ReasonOverloaded, Err: err}
	}
	code := ca.ReasonOf(err)
	s.c.Metrics.refused(code, protocol)
	level := slog.LevelInfo
	// What fails because its client has gone is no failure of ours, nor is a drain.
	ours := code.Class() == ca.Internal || code.Class() == ca.Unavailable && code != ca.ReasonDraining
	if ours && !errors.Is(ctx.Err(), context.Canceled) {
		level = slog.LevelError
	}
	s.c.Log.LogAttrs(ctx, level, "refused",
		slog.String("request_id", id), slog.String("reason", string(code)), slog.String("method", clip(method)),
		slog.String("peer", peerOf(ctx)), slog.String("error", err.Error()))
	return refusal(err, protocol, id)
}

func (s *Server) panicked(ctx context.Context, method, id string, p any) error {
	s.c.Metrics.panics.Inc()
	s.c.Log.LogAttrs(ctx, slog.LevelError, "panic in a request",
		slog.String("request_id", id), slog.String("method", method), slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
	return refusal(ca.Refuse(ca.ReasonInternal, "panic"), protocolOf(method), id)
}

// protocolOf tells the protocol by the service in a full method name.
func protocolOf(method string) Protocol {
	switch {
	case strings.HasPrefix(method, "/istio.v1.auth."):
		return ProtocolIstio
	case strings.HasPrefix(method, "/io.linkerd.proxy.identity."):
		return ProtocolLinkerd
	case strings.HasPrefix(method, "/kedge.v1.Admin/"):
		return ProtocolAdmin
	}
	return ProtocolKedge
}

func peerOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}
