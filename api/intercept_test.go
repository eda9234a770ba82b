package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// secret stands for a detail that must not reach a client.
const secret = "vault at 10.1.2.3 said no"

// fakeIssuer does what issue says instead of issuing.
type fakeIssuer struct {
	api.Issuer
	issue func(ctx context.Context) error
}

func (f fakeIssuer) Issue(ctx context.Context, caller ca.Caller, r ca.Request) (ca.Issued, error) {
	if err := f.issue(ctx); err != nil {
		return ca.Issued{}, err
	}
	return f.Issuer.Issue(ctx, caller, r)
}

// issuing is a server whose authority first does what issue says.
func issuing(t *testing.T, issue func(ctx context.Context) error) *apitest.Server {
	t.Helper()
	return apitest.New(t, apitest.Options{Issuer: func(real api.Issuer) api.Issuer { return fakeIssuer{real, issue} }})
}

func issue(t *testing.T, s *apitest.Server, ctx context.Context) (*kedgev1.IssueResponse, error) {
	t.Helper()
	return kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).Issue(ctx, &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
}

func TestAClientSeesAReasonAndAFixedSentenceAndNothingElse(t *testing.T) {
	rows := map[string]struct {
		err    error
		reason ca.Reason
		code   codes.Code
	}{
		"an error without a reason": {errors.New(secret), ca.ReasonInternal, codes.Internal},
		"an internal error":         {ca.Refuse(ca.ReasonInternal, secret), ca.ReasonInternal, codes.Internal},
		"an outage":                 {ca.Refuse(ca.ReasonRecordFailed, secret), ca.ReasonRecordFailed, codes.Unavailable},
		"a refusal":                 {ca.Refuse(ca.ReasonPolicy, secret), ca.ReasonPolicy, codes.PermissionDenied},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			s := issuing(t, func(context.Context) error { return row.err })
			_, err := issue(t, s, s.As(t, "a"))
			r := apitest.RequireRefused(t, row.reason, err)
			require.Equal(t, row.code, r.Code)
			require.Equal(t, string(row.reason)+": "+row.reason.Public(), r.Message)
			require.NotContains(t, err.Error(), "10.1.2.3")
			require.Equal(t, "https://github.com/kedge-ca/kedge/blob/main/docs/errors.md#"+string(row.reason), r.Help)
			require.Regexp(t, "^[0-9a-f]{16}$", r.RequestID)
			require.Contains(t, s.Log.String(), secret, "the operator's log has the detail")
			require.Contains(t, s.Log.String(), r.RequestID, "and the id by which the client's error is found")
		})
	}
}

func TestAPanicIsInternalIsCountedAndTheServerGoesOn(t *testing.T) {
	panics := true
	s := issuing(t, func(context.Context) error {
		if panics {
			panics = false
			panic(secret)
		}
		return nil
	})
	client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
	request := &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")}
	_, err := client.Issue(s.As(t, "a"), request)
	r := apitest.RequireRefused(t, ca.ReasonInternal, err)
	require.Regexp(t, "^[0-9a-f]{16}$", r.RequestID)
	require.NotContains(t, err.Error(), "10.1.2.3")
	require.Contains(t, s.Log.String(), "intercept_test.go", "the log has the stack")
	require.EqualValues(t, 1, counter(t, s, "kedge_panics_total"))
	require.Zero(t, s.Gate.Inside(), "the place in the gate was given back")
	_, err = client.Issue(s.As(t, "a"), request)
	require.NoError(t, err, "the same connection serves on")
}

func TestEveryCallHasAnIDOfItsOwnThatTheRecordKeeps(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	seen := make(map[string]bool)
	for range 3 {
		_, err := issue(t, s, s.As(t, "a"))
		require.NoError(t, err)
	}
	for _, r := range s.CA.Recorder.Records()[1:] { // the first is the server's own
		require.Regexp(t, "^[0-9a-f]{16}$", r.RequestID)
		seen[r.RequestID] = true
	}
	require.Len(t, seen, 3)
	require.Empty(t, api.RequestID(t.Context()), "outside a call there is none")
}

// TestACallWithoutADeadlineGetsOne: pilot-agent sets none, and a hung backend
// would hold its one flight for ever.
func TestACallWithoutADeadlineGetsOne(t *testing.T) {
	s := apitest.New(t, apitest.Options{
		RequestTimeout: 50 * time.Millisecond,
		Issuer: func(real api.Issuer) api.Issuer {
			return fakeIssuer{real, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}}
		},
	})
	_, err := issue(t, s, s.As(t, "a"))
	r := apitest.RequireRefused(t, ca.ReasonOverloaded, err)
	require.Equal(t, codes.ResourceExhausted, r.Code, "pilot-agent tries again")
	require.NotNil(t, r.Retry)
}

func TestAClientThatGoesIsNoFailureOfOurs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	s := issuing(t, func(ctx context.Context) error {
		defer close(done)
		cancel()
		<-ctx.Done()
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: ctx.Err()}
	})
	token := s.Token(t, "a")
	_, err := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).Issue(withBearer(ctx, token), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
	require.Equal(t, codes.Canceled, status.Code(err))
	<-done
	drained, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	require.True(t, s.API.Drain(drained)) // the refusal is logged when the call has ended
	require.Contains(t, s.Log.String(), string(ca.ReasonRecordFailed))
	require.NotContains(t, s.Log.String(), `"level":"ERROR"`)
}

// TestTheEndOfAContextIsNoDefect: an issuer may give up with the bare error of its
// context, and that is neither counted nor logged as internal.
func TestTheEndOfAContextIsNoDefect(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := issuing(t, func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return fmt.Errorf("waiting for the disk: %w", ctx.Err())
	})
	token := s.Token(t, "a")
	_, err := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).Issue(withBearer(ctx, token), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
	require.Equal(t, codes.Canceled, status.Code(err))
	drained, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	require.True(t, s.API.Drain(drained))
	require.Zero(t, counter(t, s, "kedge_refused_total", "reason", "internal", "protocol", "kedge"))
	require.NotContains(t, s.Log.String(), `"level":"ERROR"`)
}

// TestADrainIsNoFailure: each restart would else log one for every watcher.
func TestADrainIsNoFailure(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	stream, err := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).WatchBundle(t.Context(), &kedgev1.WatchBundleRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	drained, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	require.True(t, s.API.Drain(drained))
	_, err = stream.Recv()
	apitest.RequireRefused(t, ca.ReasonDraining, err)
	require.Contains(t, s.Log.String(), `"reason":"draining"`)
	require.NotContains(t, s.Log.String(), `"level":"ERROR"`)
}

// TestALogLineIsShort: what a client sends cannot fill a disk much faster than
// the network brings it.
func TestALogLineIsShort(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	conn := s.Dial(t, nil)
	long := strings.Repeat("x", 28<<10)
	token := s.Token(t, "a")
	calls := map[string]func() error{
		"a path": func() error {
			return conn.Invoke(t.Context(), "/kedge.v1.CertificateAuthority/"+long, &kedgev1.IssueRequest{}, &kedgev1.IssueResponse{})
		},
		"a cluster": func() error {
			_, err := issue(t, s, metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token, "clusterid", long))
			return err
		},
		"a token": func() error { _, err := issue(t, s, apitest.Bearer(t, long)); return err },
		"a profile": func() error {
			_, err := kedgev1.NewCertificateAuthorityClient(conn).Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, ""), Profile: long})
			return err
		},
		"a name": func() error {
			csr := apitest.CSR(t, s.Identity(strings.Repeat("x", 3<<10)))
			_, err := kedgev1.NewCertificateAuthorityClient(conn).Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: csr})
			return err
		},
	}
	for name, call := range calls {
		before := len(s.Log.String())
		require.Error(t, call(), name)
		require.Greater(t, len(s.Log.String()), before, name)
		require.Less(t, len(s.Log.String())-before, 4<<10, name)
	}
}

func TestAPanicInAStreamIsInternalToo(t *testing.T) {
	s := apitest.New(t, apitest.Options{Register: func(r grpc.ServiceRegistrar) {
		r.RegisterService(&grpc.ServiceDesc{
			ServiceName: "test.Panic", HandlerType: (*any)(nil),
			Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, Handler: func(any, grpc.ServerStream) error { panic(secret) }}},
		}, struct{}{})
	}})
	stream, err := s.Dial(t, nil).NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Panic/Stream")
	require.NoError(t, err)
	require.NoError(t, stream.CloseSend())
	err = stream.RecvMsg(&healthpb.HealthCheckResponse{})
	apitest.RequireRefused(t, ca.ReasonInternal, err)
	require.EqualValues(t, 1, counter(t, s, "kedge_panics_total"))
}

func TestAnUnknownMethodIsRefusedBeforeAnythingIsRead(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	conn := s.Dial(t, nil)
	for _, method := range []string{
		"/kedge.v1.CertificateAuthority/Sign", "/kedge.v1.CertificateAuthority/issue", "/kedge.v1.Nothing/Issue",
		"/KEDGE.V1.CertificateAuthority/Issue", "/kedge.v1.CertificateAuthority/Issue/", "//Issue",
		"/istio.v1.auth.IstioCertificateService/createcertificate", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/kedge.v1.Admin/Status", "/kedge.v1.Admin/CreateJoinToken", "/kedge.v1.Admin/Repair", "/kedge.v1.Admin/FIPSReport",
	} {
		stream, err := conn.NewStream(s.As(t, "a"), &grpc.StreamDesc{ClientStreams: true}, method)
		require.NoError(t, err, method)
		err = stream.RecvMsg(&kedgev1.StatusResponse{}) // nothing was sent
		require.NotErrorIs(t, err, io.EOF, method)
		r := apitest.RequireRefused(t, ca.ReasonMethodUnknown, err)
		require.Equal(t, codes.Unimplemented, r.Code, method)
	}
	require.EqualValues(t, 4, counter(t, s, "kedge_refused_total", "reason", "method_unknown", "protocol", "admin"))
}

func TestALogLineNeverHoldsATokenOrACSR(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	token := s.Token(t, "a")
	forged := token[:len(token)-8] + strings.Repeat("A", 8)
	_, err := issue(t, s, apitest.Bearer(t, forged))
	apitest.RequireRefused(t, ca.ReasonTokenSignature, err)
	_, err = kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).Issue(s.As(t, "a"), &kedgev1.IssueRequest{Csr: []byte("a body that is no CSR")})
	apitest.RequireRefused(t, ca.ReasonCSREncoding, err)
	require.NotContains(t, s.Log.String(), "a body that")
	for _, part := range strings.Split(token, ".") {
		require.NotContains(t, s.Log.String(), part)
	}
}

// TestNoStatusOfABackendReachesAClient: only gRPC itself speaks in statuses; one
// that a backend answered with is a detail for the operator.
func TestNoStatusOfABackendReachesAClient(t *testing.T) {
	for name, err := range map[string]error{
		"a status":         status.Error(codes.NotFound, secret),
		"a wrapped status": fmt.Errorf("asking the upstream: %w", status.Error(codes.Unauthenticated, secret)),
		"two errors":       errors.Join(errors.New("x"), status.Error(codes.NotFound, secret)),
	} {
		t.Run(name, func(t *testing.T) {
			s := issuing(t, func(context.Context) error { return err })
			_, err := issue(t, s, s.As(t, "a"))
			r := apitest.RequireRefused(t, ca.ReasonInternal, err)
			require.Equal(t, codes.Internal, r.Code)
			require.NotEmpty(t, r.RequestID)
			require.NotContains(t, r.Message, secret)
			require.Contains(t, s.Log.String(), secret)
			require.EqualValues(t, 1, counter(t, s, "kedge_refused_total", "reason", "internal", "protocol", "kedge"))
		})
	}
}

// TestAPanicInAHandshakeEndsItsConnectionOnly: gRPC catches none, and one in the
// verification of a hostile chain (CVE-2024-24783) would end the process.
func TestAPanicInAHandshakeEndsItsConnectionOnly(t *testing.T) {
	var panics atomic.Bool
	s := apitest.New(t, apitest.Options{Handshakes: 1, Handshake: func() {
		if panics.Swap(false) {
			panic(secret)
		}
	}})
	panics.Store(true)
	_, err := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil)).GetBundle(t.Context(), &kedgev1.GetBundleRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
	_, err = issue(t, s, s.As(t, "a"))
	require.NoError(t, err, "the only slot was given back")
	require.EqualValues(t, 1, counter(t, s, "kedge_panics_total"))
	require.Contains(t, s.Log.String(), "intercept_test.go", "the log has the stack")
	require.Zero(t, gauge(t, s, "kedge_handshakes_in_progress"))
}
