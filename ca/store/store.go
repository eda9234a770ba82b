package store

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Store is everything durable that an authority has, except its private keys.
// All of it is safe for concurrent use.
//
// Times are kept to the microsecond and come back in UTC.
type Store interface {
	ca.Recorder
	ca.EventLog
	ca.StateStore
	ca.Documents
	RecordReader
	EventReader
	JoinTokens
	io.Closer
}

// MaxLimit bounds what one call of Records or Events returns; a greater limit is
// cut to it, and the caller goes on with AfterSeq.
const MaxLimit = 10_000

// RecordReader reads issuance records.
//
// Records returns those that q selects in order of Seq. A record that Intend has
// returned is seen; Seq grows in the order in which records became durable.
//
// LiveKeys calls each for every record that is not voided and whose NotAfter
// lies after now, in order of Seq, and stops at the first error, which it
// returns. It holds no transaction while it calls each.
type RecordReader interface {
	Records(ctx context.Context, q ca.Query) ([]ca.Record, error)
	LiveKeys(ctx context.Context, now time.Time, each func(ca.LiveKey) error) error
}

// EventReader reads events: those with Seq > afterSeq, oldest first or newest
// first, at most limit of them; limit 0 means 100.
type EventReader interface {
	Events(ctx context.Context, afterSeq uint64, newest bool, limit int) ([]ca.Event, error)
}

// JoinTokens keeps one-time tokens of machines, by their hash.
//
// Create returns when the token would survive a crash; a hash that exists is an
// error.
//
// Use spends a token: of any number of calls, in any process, at most one gets
// it, and it stays spent after a crash. An unknown token is an *ca.Error with
// ReasonTokenKeyUnknown, a spent one ReasonTokenUsed, one that has expired at
// now ReasonTokenExpired. After any other error the token may be spent.
//
// Return undoes a Use. Only the caller to whom Use gave the token may, once it is
// certain that no certificate comes of it. An unknown token is no error.
//
// Delete removes the tokens, spent or not, that expired before the time given, and
// returns how many there were; they are unknown then. It lets records be written
// meanwhile.
type JoinTokens interface {
	CreateJoinToken(ctx context.Context, t ca.JoinToken) error
	UseJoinToken(ctx context.Context, hash [32]byte, now time.Time) (ca.JoinToken, error)
	ReturnJoinToken(ctx context.Context, hash [32]byte) error
	DeleteJoinTokens(ctx context.Context, expiredBefore time.Time) (int, error)
}

// Verifier is implemented by stores whose logs are tamper-evident.
//
// Verify reads everything and returns how many records there are. An error says
// where the log is not what was written. A log that was cut off at its end, or
// written anew as a whole, still verifies; to find that, compare its head with
// one that was noted elsewhere.
type Verifier interface {
	Verify(ctx context.Context) (records uint64, err error)
}

// ErrBehind means that a store is older than a Mark that was made of it, or has
// gone on from an older copy.
var ErrBehind = errors.New("the store is older than what this server has written")

// Mark says how far a store had come. Noted outside the store it finds, later, a
// store that was put back from a backup.
type Mark struct {
	Store      string `json:"store"`      // its random name
	Generation uint64 `json:"generation"` // how often it was opened for writing
	Records    End    `json:"records"`
	Events     End    `json:"events"`
	Versions   uint64 `json:"versions"` // sum of the versions of all documents and states
}

// End is the last row of a log and the hash over the whole log, in hex.
type End struct {
	Seq  uint64 `json:"seq"`
	Head string `json:"head"`
}

// Marker is implemented by stores that can tell whether they are behind.
//
// Holds returns nil when everything that was there at m is there now, an error that
// wraps ErrBehind when it is not, and another one when it could not be found out.
type Marker interface {
	Mark(ctx context.Context) (Mark, error)
	Holds(ctx context.Context, m Mark) error
}

// States is implemented by stores that several replicas share.
//
// States returns the state of every replica that has one, by name.
type States interface {
	States(ctx context.Context) (map[string]ca.State, error)
}

// Durable is what the server's stores are: every implementation in this
// repository.
type Durable interface {
	Store
	Verifier
	Marker
	States
}
