package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/kedge-ca/kedge/ca"
)

// errTooLarge is the error of a body above maxAnswer.
var errTooLarge = errors.New("the answer is larger than 1 MiB")

// errCut is an answer that has begun and cannot be read to its end.
var errCut = errors.New("the answer cannot be read")

// errHandshake is a server that is reached and cannot be spoken to over TLS.
var errHandshake = errors.New("TLS handshake")

// explain gives an error of the library its reason, unless it has one.
func explain(err error) error {
	var reasoned *ca.Error
	if errors.As(err, &reasoned) {
		return err
	}
	var status *api.ResponseError
	if errors.As(err, &status) {
		// Vault says in JSON what is not there. A page of whatever stands before it says
		// nothing of Vault: on "missing", callers forget things.
		if status.RawError && statusReasons[status.StatusCode] == ca.ReasonRootMissing {
			return ca.Refuse(ca.ReasonRootAnswer, "status %d is not Vault's own: %s", status.StatusCode, clean(strings.Join(status.Errors, "; ")))
		}
		return refuseStatus(status.StatusCode, status.Errors)
	}
	return &ca.Error{Reason: reasonOfTransport(err), Err: err}
}

// explainBody gives an error while reading an answer its reason.
func explainBody(err error) error {
	if reason := reasonOfTransport(err); reason == ca.ReasonRootTimeout {
		return &ca.Error{Reason: reason, Err: err}
	}
	return &ca.Error{Reason: ca.ReasonRootAnswer, Err: fmt.Errorf("reading the answer: %w", err)}
}

func reasonOfTransport(err error) ca.Reason {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var operation *net.OpError
	var timeout net.Error
	isOperation := errors.As(err, &operation)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return ca.ReasonRootTimeout
	case errors.Is(err, errTooLarge), errors.Is(err, errCut):
		return ca.ReasonRootAnswer
	case errors.As(err, &verification), errors.As(err, &record),
		isOperation && operation.Op == "remote error": // an alert; in TLS 1.3 that about our certificate comes after the handshake
		return ca.ReasonRootTLS
	case errors.Is(err, errHandshake) && !isOperation && !errors.Is(err, io.EOF):
		return ca.ReasonRootTLS
	}
	return ca.ReasonRootUnreachable
}

// statusReasons are Vault's status codes (developer.hashicorp.com/vault/api-docs,
// "HTTP status codes", and /sys/health).
var statusReasons = map[int]ca.Reason{
	http.StatusBadRequest:          ca.ReasonRootRefused,
	http.StatusUnauthorized:        ca.ReasonRootDenied,
	http.StatusForbidden:           ca.ReasonRootDenied,
	http.StatusNotFound:            ca.ReasonRootMissing,
	http.StatusMethodNotAllowed:    ca.ReasonRootMissing,
	http.StatusPreconditionFailed:  ca.ReasonRootStandby,
	http.StatusTooManyRequests:     ca.ReasonRootThrottled,
	472:                            ca.ReasonRootStandby, // disaster recovery secondary
	473:                            ca.ReasonRootStandby, // performance standby
	474:                            ca.ReasonRootStandby, // standby that has lost the active node
	http.StatusInternalServerError: ca.ReasonRootUnavailable,
	http.StatusNotImplemented:      ca.ReasonRootSealed, // not initialised
	http.StatusBadGateway:          ca.ReasonRootUnavailable,
	http.StatusServiceUnavailable:  ca.ReasonRootUnavailable,
	http.StatusGatewayTimeout:      ca.ReasonRootUnavailable,
	530:                            ca.ReasonRootUnavailable, // removed from its cluster
}

// refuseStatus turns a status that is no success into an error.
func refuseStatus(status int, messages []string) error {
	reason, known := statusReasons[status]
	text := strings.Join(messages, "; ")
	switch {
	case status >= 300 && status < 400:
		reason = ca.ReasonRootRedirected
	case !known:
		reason = ca.ReasonRootAnswer
	case status == http.StatusServiceUnavailable && strings.Contains(text, "sealed"):
		reason = ca.ReasonRootSealed
	case isMissing(text):
		reason = ca.ReasonRootMissing
	case isAway(text):
		return ca.Refuse(ca.ReasonRootMissing, "%w: status %d: %s", ErrAway, status, clean(text))
	}
	return ca.Refuse(reason, "status %d: %s", status, clean(text))
}

// ErrAway is a mount or a namespace that is not there. It comes back, when an
// operator has moved or restored it, and what was in it with it: nothing in it may
// be taken for gone.
var ErrAway = errors.New("there is no such mount, or not in this namespace; vault secrets enable makes one")

func isAway(text string) bool {
	return strings.Contains(text, "no handler for route") || strings.Contains(text, "namespace not found")
}

// isMissing knows the sentences in which Vault says that something is not there
// under a status that says something else.
func isMissing(text string) bool {
	return strings.Contains(text, "unable to find PKI issuer") || strings.Contains(text, "no default issuer currently configured")
}

// maxSentence bounds what of a foreign answer gets into a log.
const maxSentence = 300

// clean makes a foreign text fit for one line of a log.
func clean(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if text == "" {
		return "no message"
	}
	if len(text) > maxSentence {
		text = text[:maxSentence] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}
