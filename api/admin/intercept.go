package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/ca"
)

// UnaryInterceptor turns errors and panics into statuses. An operator at the
// machine may read the detail that clients on the network do not get.
func UnaryInterceptor(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		defer func() { err = operatorError(log, info.FullMethod, err, recover()) }()
		return next(ctx, req)
	}
}

// StreamInterceptor is the same for streams.
func StreamInterceptor(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() { err = operatorError(log, info.FullMethod, err, recover()) }()
		return next(srv, ss)
	}
}

// operatorError is err, or the panic that ended a call, as the operator sees it.
func operatorError(log *slog.Logger, method string, err error, panicked any) error {
	if panicked != nil {
		log.Error("panic in an admin call", "method", method, "panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
		err = ca.Refuse(ca.ReasonInternal, "panic: %v", panicked)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded): // the operator has gone
		return status.FromContextError(err).Err()
	case status.Code(err) != codes.Unknown: // gRPC's own
		return err
	}
	reason := ca.ReasonOf(err)
	log.Warn("admin call failed", "method", method, "reason", string(reason), "error", err)
	st := status.New(api.Code(api.ProtocolAdmin, reason), err.Error())
	if detailed, detailErr := st.WithDetails(&errdetails.ErrorInfo{Reason: string(reason), Domain: api.ErrorDomain}); detailErr == nil {
		st = detailed
	}
	return st.Err()
}
