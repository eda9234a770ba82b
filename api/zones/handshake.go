package zones

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/ca"
)

// replicaCredentials shake hands with the bundle that is held at the moment, and
// remember how it went: gRPC tells a call no more than that there is no connection.
type replicaCredentials struct {
	client *Client
	last   *outcome
}

// outcome is why the last handshake failed; nil if it did not.
type outcome struct{ err atomic.Pointer[error] }

// untrustedError is a server that the replica must not talk to.
type untrustedError struct{ error }

func (e *untrustedError) Unwrap() error { return e.error }

// ClientHandshake implements credentials.TransportCredentials.
func (r *replicaCredentials) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := r.client.config(ctx)
	if err != nil {
		r.last.err.Store(&err)
		return nil, nil, err
	}
	secured, info, err := credentials.NewTLS(config).ClientHandshake(ctx, r.client.serverName, conn)
	if err != nil {
		r.last.err.Store(&err)
		return nil, nil, err
	}
	r.last.err.Store(nil)
	return secured, info, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (r *replicaCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("a replica serves nobody with the credentials of its connection to the primary")
}

// Info implements credentials.TransportCredentials.
func (r *replicaCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (r *replicaCredentials) Clone() credentials.TransportCredentials { return r }

// OverrideServerName implements credentials.TransportCredentials; nothing asks for it.
func (r *replicaCredentials) OverrideServerName(string) error {
	return errors.New("the primary's name is configured")
}

// untrusted is why the last handshake found no primary to trust, nil if it did.
func (o *outcome) untrusted() error {
	held := o.err.Load()
	if held == nil {
		return nil
	}
	var unverified *tls.CertificateVerificationError
	var somebodyElse *untrustedError
	if errors.As(*held, &unverified) || errors.As(*held, &somebodyElse) {
		return *held
	}
	return nil
}

// failure is the error of a call as the replica acts on it: the reason that the
// primary gave, or why there was no answer.
func (c *Client) failure(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("%s: %w", doing, ended)
	}
	st := status.Convert(err)
	for _, detail := range st.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if ok && info.GetDomain() == api.ErrorDomain {
			return ca.Refuse(ca.Reason(info.GetReason()), "%s: the primary says: %s (request %s)", doing, st.Message(), info.GetMetadata()["request_id"])
		}
	}
	if untrusted := c.creds.last.untrusted(); untrusted != nil && st.Code() == codes.Unavailable {
		return ca.Refuse(ca.ReasonPrimaryUntrusted, "%s: %w", doing, untrusted)
	}
	return ca.Refuse(ca.ReasonPrimaryAway, "%s: %s: %s", doing, st.Code(), st.Message())
}
