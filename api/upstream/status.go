package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/ca"
)

// toStatus is err on the wire. The detail goes along: the caller is a process of
// the same operator, whose log is where it is looked for.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	var st interface{ GRPCStatus() *status.Status }
	if errors.As(err, &st) {
		return status.Error(st.GRPCStatus().Code(), printable(st.GRPCStatus().Message()))
	}
	code := codes.Unavailable
	switch {
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, fs.ErrExist):
		code = codes.AlreadyExists
	case ca.ReasonOf(err) == ca.ReasonNotFound:
		code = codes.NotFound
	}
	return status.Error(code, printable(err.Error()))
}

// printable bounds a text that comes from foreign libraries and servers.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxErrorDetail {
		s = strings.ToValidUTF8(s[:maxErrorDetail], "") + "…"
	}
	return s
}

// FromStatus is the error of a call as the authority knows it: the end of ctx, a
// key that is there or is not, and otherwise a root that cannot be had. doing says
// what was tried.
func FromStatus(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	detail := printable(st.Message())
	switch st.Code() {
	case codes.DeadlineExceeded: // the server may see the end of the time first
		return ca.Refuse(ca.ReasonRootUnavailable, "%s: %w", doing, context.DeadlineExceeded)
	case codes.Canceled:
		if ended := ctx.Err(); ended != nil {
			return ca.Refuse(ca.ReasonRootUnavailable, "%s: %w", doing, ended)
		}
	case codes.AlreadyExists:
		return fmt.Errorf("%s: %s: %w", doing, detail, fs.ErrExist)
	case codes.NotFound:
		return ca.Refuse(ca.ReasonNotFound, "%s: %s", doing, detail)
	}
	return ca.Refuse(ca.ReasonRootUnavailable, "%s: %s: %s", doing, st.Code(), detail)
}
