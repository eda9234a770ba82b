package admin

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/ca"
)

// UnaryInterceptor turns errors into statuses. An operator at the machine may
// read the detail that clients on the network do not get.
func UnaryInterceptor(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		resp, err := next(ctx, req)
		if err != nil {
			return nil, operatorError(log, info.FullMethod, err)
		}
		return resp, nil
	}
}

// StreamInterceptor is the same for streams.
func StreamInterceptor(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if err := next(srv, ss); err != nil {
			return operatorError(log, info.FullMethod, err)
		}
		return nil
	}
}

func operatorError(log *slog.Logger, method string, err error) error {
	if status.Code(err) != codes.Unknown { // gRPC's own, such as a cancelled stream
		return err
	}
	reason := ca.ReasonOf(err)
	log.Warn("admin call failed", "method", method, "reason", string(reason), "error", err)
	return status.Error(api.Code(api.ProtocolAdmin, reason), err.Error())
}
