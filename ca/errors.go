package ca

import (
	"errors"
	"fmt"
)

// Class says what kind of failure a Reason is. Each API maps a class to its own
// wire code in one table (package api).
type Class uint8

// The classes. The zero value is Internal, so that a forgotten class can only
// hide a detail from a client, never reveal one or invite a wrong retry.
const (
	Internal        Class = iota // our fault; nothing for the caller to mend
	Malformed                    // the request can never succeed as it is
	Unauthenticated              // the caller did not prove who it is
	Denied                       // the caller is known and may not have this
	Exhausted                    // a quota or queue is full; retry later
	Unavailable                  // something we need is down; retry soon
	NotFound                     // the thing named does not exist
	Conflict                     // the state has moved on; reload and decide again
)

// Reason is the stable code of one refusal. It appears on the wire, in metrics,
// in the log and in docs/errors.md; once released it never changes its meaning.
type Reason string

// Error is the only error type that callers of this package branch on.
// Err holds the detail for the operator; clients see only Public().
type Error struct {
	Reason Reason
	Err    error
}

// Refuse makes an *Error with a formatted detail for the operator.
func Refuse(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Err: fmt.Errorf(format, args...)}
}

// Error implements error with the reason and the operator's detail.
func (e *Error) Error() string {
	if e.Err == nil {
		return string(e.Reason)
	}
	return string(e.Reason) + ": " + e.Err.Error()
}

// Unwrap gives the detail to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// Class is the class of the error's reason.
func (e *Error) Class() Class { return e.Reason.Class() }

// Public is the fixed sentence that a client may read.
func (e *Error) Public() string { return e.Reason.Public() }

// ReasonOf finds the reason of err; an error that carries none is ReasonInternal.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ReasonInternal
}

// Class is the class of the reason; an unknown reason is Internal.
func (r Reason) Class() Class { return reasons[r].class }

// Public is the fixed sentence that a client may read for this reason.
func (r Reason) Public() string {
	info, ok := reasons[r]
	if !ok {
		return reasons[ReasonInternal].public
	}
	return info.public
}
