package ca

import (
	"context"
	"time"
)

// Record is the durable record of one issuance: who got what, on which evidence,
// under which issuer and bundle.
type Record struct {
	Seq          uint64    // position in the log, given by the store, starts at 1
	Serial       string    // lower-case hex, no leading zero octets
	Identity     string    // SPIFFE ID
	DNSNames     []string  // DNS names and addresses, only for profiles that grant them
	Evidence     Evidence  // what proved the caller
	Profile      string    // name of the certificate profile
	KeyHash      [32]byte  // SHA-256 of the SubjectPublicKeyInfo
	TBSHash      [32]byte  // SHA-256 of the exact TBSCertificate that is signed
	Issuer       string    // key id (hex) of the intermediate
	Anchor       AnchorID  // trust anchor above it
	BundleSeq    uint64    // bundle in force when it was issued
	IssuedAt     time.Time // server clock
	NotBefore    time.Time
	NotAfter     time.Time
	RequestID    string // joins the record with the log and the client's error
	VoidedReason string // set when the certificate never left the process
}

// Recorder keeps issuance records.
//
// Intend returns only when r would survive a crash of the process and of the
// machine; an error means that the certificate must not be released, whatever
// became of the record. It is safe for concurrent use and may commit many
// records at once.
//
// Void marks a recorded intent whose certificate was never released. It is best
// effort: an intent without a released certificate is harmless.
type Recorder interface {
	Intend(ctx context.Context, r Record) error
	Void(ctx context.Context, serial, reason string) error
}

// LiveKey is the key of a certificate that has not expired, and what its record says
// beside that of its holder.
type LiveKey struct {
	KeyHash   [32]byte
	Identity  string
	NotAfter  time.Time
	Serial    string // lower-case hex
	Anchor    AnchorID
	BundleSeq uint64
	Profile   string
	Method    Method
	Renews    string // serial of the certificate by which its holder was authenticated, "" if by none
}

// LiveKey is what r says of its holder.
func (r Record) LiveKey() LiveKey {
	key := LiveKey{
		KeyHash: r.KeyHash, Identity: r.Identity, NotAfter: r.NotAfter, Serial: r.Serial,
		Anchor: r.Anchor, BundleSeq: r.BundleSeq, Profile: r.Profile, Method: r.Evidence.Method,
	}
	if key.Method == MethodCertificate {
		key.Renews = r.Evidence.Subject
	}
	return key
}

// Query selects issuance records; zero fields select everything.
type Query struct {
	Serial   string    // exact, lower-case hex
	Identity string    // exact SPIFFE ID, or a prefix that ends in "/"
	Method   Method    // how the caller was authenticated
	Cluster  string    // configured cluster name
	Since    time.Time // IssuedAt >= Since
	Until    time.Time // IssuedAt < Until
	AfterSeq uint64    // Seq > AfterSeq
	Newest   bool      // newest first; otherwise oldest first
	Limit    int       // at most so many; 0 means 100
}

// Event is the durable record of an act that is not an issuance: a start, a
// configuration change, a new intermediate, an operator's command.
type Event struct {
	Seq    uint64
	At     time.Time
	Actor  string            // "system", or the operator: "uid:0", a SPIFFE ID
	Action string            // stable dotted name such as "intermediate.renew"
	Detail map[string]string // facts, never secrets
}

// EventLog keeps events. Append returns when e would survive a crash.
type EventLog interface {
	Append(ctx context.Context, e Event) error
}
