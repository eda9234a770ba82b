package workload

import (
	"context"

	pb "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What is not served (ADR 14). The header is asked for first: a caller without it
// learns nothing.

func refuse(ctx context.Context, what string) error {
	if err := checkHeader(ctx); err != nil {
		return err
	}
	return status.Error(codes.Unimplemented, "this authority issues X.509-SVIDs; it has no "+what)
}

// FetchJWTSVID refuses.
func (s *server) FetchJWTSVID(ctx context.Context, _ *pb.JWTSVIDRequest) (*pb.JWTSVIDResponse, error) {
	return nil, refuse(ctx, "JWT-SVIDs")
}

// FetchJWTBundles refuses.
func (s *server) FetchJWTBundles(_ *pb.JWTBundlesRequest, stream grpc.ServerStreamingServer[pb.JWTBundlesResponse]) error {
	return refuse(stream.Context(), "JWT-SVIDs")
}

// ValidateJWTSVID refuses.
func (s *server) ValidateJWTSVID(ctx context.Context, _ *pb.ValidateJWTSVIDRequest) (*pb.ValidateJWTSVIDResponse, error) {
	return nil, refuse(ctx, "JWT-SVIDs")
}

// FetchWITSVID refuses.
func (s *server) FetchWITSVID(_ *pb.WITSVIDRequest, stream grpc.ServerStreamingServer[pb.WITSVIDResponse]) error {
	return refuse(stream.Context(), "WIT-SVIDs")
}

// FetchWITBundles refuses.
func (s *server) FetchWITBundles(_ *pb.WITBundlesRequest, stream grpc.ServerStreamingServer[pb.WITBundlesResponse]) error {
	return refuse(stream.Context(), "WIT-SVIDs")
}
