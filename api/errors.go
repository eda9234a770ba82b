package api

import (
	"encoding/binary"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Protocol is the API that a request came by.
type Protocol string

// The protocols.
const (
	ProtocolKedge   Protocol = "kedge"
	ProtocolIstio   Protocol = "istio"
	ProtocolLinkerd Protocol = "linkerd"
	ProtocolAdmin   Protocol = "admin"
)

// ErrorDomain is the domain of ErrorInfo; together with a reason it is unique.
const ErrorDomain = "kedge.dev"

// helpURL is where docs/errors.md can be read; a reason is an anchor in it.
const helpURL = "https://github.com/kedge-ca/kedge/blob/main/docs/errors.md#"

// classCodes is the one table of wire codes. Istio's agent retries Canceled,
// DeadlineExceeded, ResourceExhausted, Aborted, Internal and Unavailable by
// itself; so what a retry cannot mend must be another code, and what it can mend
// must be one of these. Every class meets that in every protocol but Linkerd's,
// whose proxies ask again whatever the code is.
var classCodes = map[ca.Class]codes.Code{
	ca.Internal:        codes.Internal,
	ca.Malformed:       codes.InvalidArgument,
	ca.Unauthenticated: codes.Unauthenticated,
	ca.Denied:          codes.PermissionDenied,
	ca.Exhausted:       codes.ResourceExhausted,
	ca.Unavailable:     codes.Unavailable,
	ca.NotFound:        codes.NotFound,
	ca.Conflict:        codes.Aborted,
}

// classOverrides are the classes whose code is another in a protocol. Linkerd's own
// issuer knows neither Unauthenticated nor PermissionDenied: what is wrong with a
// token is InvalidArgument, and a name that is not the caller's FailedPrecondition
// (linkerd2 pkg/identity/service.go).
var classOverrides = map[Protocol]map[ca.Class]codes.Code{
	ProtocolLinkerd: {ca.Unauthenticated: codes.InvalidArgument, ca.Denied: codes.FailedPrecondition},
}

// overrides are the reasons whose code differs from their class's in a protocol.
var overrides = map[Protocol]map[ca.Reason]codes.Code{
	ProtocolKedge: {ca.ReasonMethodUnknown: codes.Unimplemented},
	ProtocolIstio: {ca.ReasonMethodUnknown: codes.Unimplemented},
	ProtocolAdmin: {ca.ReasonMethodUnknown: codes.Unimplemented},
	ProtocolLinkerd: {
		ca.ReasonMethodUnknown: codes.Unimplemented,
		// Its issuer looks at the names of a CSR before anything else of it.
		ca.ReasonCSRSubject: codes.FailedPrecondition, ca.ReasonCSRNames: codes.FailedPrecondition,
		// A token that nobody's key could be asked about: not authenticated, there.
		ca.ReasonTokenIssuer: codes.FailedPrecondition, ca.ReasonClusterUnknown: codes.FailedPrecondition,
	},
}

// Code is the wire code of a reason in a protocol.
func Code(p Protocol, r ca.Reason) codes.Code {
	if code, ok := overrides[p][r]; ok {
		return code
	}
	if code, ok := classOverrides[p][r.Class()]; ok {
		return code
	}
	return classCodes[r.Class()]
}

// retryError tells a client how long to wait.
type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// refusal is err as the client sees it: code, reason, fixed sentence, request id,
// a link to the explanation, and when to come back where that can help.
func refusal(err error, p Protocol, requestID string) error {
	reason := ca.ReasonOf(err)
	st := status.New(Code(p, reason), string(reason)+": "+reason.Public())
	info := &errdetails.ErrorInfo{Reason: string(reason), Domain: ErrorDomain, Metadata: map[string]string{"request_id": requestID}}
	help := &errdetails.Help{Links: []*errdetails.Help_Link{{Description: "what this means and what to do", Url: helpURL + string(reason)}}}
	detailed, detailErr := st.WithDetails(info, help)
	if after := retryAfter(err, reason); after > 0 && detailErr == nil {
		detailed, detailErr = detailed.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	}
	if detailErr != nil {
		return st.Err()
	}
	return detailed.Err()
}

// retryAfter is how long a client should wait: what the refusal knows, or one to
// two seconds by chance, so that those who were refused together do not come
// back together. It is 0 where a retry is of no use.
func retryAfter(err error, reason ca.Reason) time.Duration {
	var retry *retryError
	if errors.As(err, &retry) {
		return retry.after
	}
	if class := reason.Class(); class != ca.Exhausted && class != ca.Unavailable {
		return 0
	}
	var chance [2]byte
	if err := fips.Random(chance[:]); err != nil {
		return 2 * time.Second
	}
	return time.Second + time.Second*time.Duration(binary.BigEndian.Uint16(chance[:]))/(1<<16)
}
