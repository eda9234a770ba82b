package api

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/kedge-ca/kedge/ca"
)

// envelope takes a message out of gRPC together with why it is none. When a codec
// fails, gRPC writes a status of its own before anybody else can: Internal, which
// invites a retry of what no retry mends, without a reason or a request id. So
// codec does not fail, and whoever asked looks into the envelope. What gRPC refuses
// before it has a message stays its own (docs/errors.md).
type envelope struct {
	message any
	err     error
}

// open tells why there is no message, nil if there is one.
func (e *envelope) open() error {
	if e.err == nil {
		return nil
	}
	return &ca.Error{Reason: ca.ReasonRequest, Err: e.err}
}

// codec is gRPC's own for protocol buffers, but for envelopes.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} } // its package registers it

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	e, ok := v.(*envelope)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	e.err = c.CodecV2.Unmarshal(data, e.message)
	return nil
}

// registrar registers services whose unary methods take their message in an
// envelope; streams do that in RecvMsg.
type registrar struct {
	*grpc.Server
	s *Server
}

// RegisterService implements grpc.ServiceRegistrar.
func (r registrar) RegisterService(desc *grpc.ServiceDesc, service any) {
	own := *desc // desc is a variable of the generated package
	own.Methods = slices.Clone(desc.Methods)
	for i := range own.Methods {
		m := &own.Methods[i]
		m.Handler = r.s.withEnvelope("/"+desc.ServiceName+"/"+m.MethodName, m.Handler)
	}
	r.Server.RegisterService(&own, service)
}

func (s *Server) withEnvelope(method string, handle grpc.MethodHandler) grpc.MethodHandler {
	return func(service any, ctx context.Context, decode func(any) error, unary grpc.UnaryServerInterceptor) (any, error) {
		return handle(service, ctx, func(message any) error {
			e := envelope{message: message}
			if err := decode(&e); err != nil {
				return err // gRPC has told the client
			}
			if err := e.open(); err != nil {
				return s.undecoded(ctx, method, err)
			}
			return nil
		}, unary)
	}
}

// undecoded is what the client of a unary call sees whose message is none; the
// interceptor never gets to it.
func (s *Server) undecoded(ctx context.Context, method string, err error) error {
	ctx, id, idErr := withRequestID(ctx)
	if idErr != nil {
		err = idErr
	}
	return s.refuse(ctx, method, id, err)
}
