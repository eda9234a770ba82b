package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kedge-ca/kedge/ca"
)

const (
	// MaxEvent bounds an encoded event.
	MaxEvent = 64 << 10
	// MaxVoidReason bounds the reason of a void.
	MaxVoidReason = 1 << 10
)

// event is the stored form of a ca.Event without Seq. Events are rare, so they
// are JSON, for whoever looks into the database by hand. encoding/json sorts the
// keys of a map: one value has one encoding.
type event struct {
	At     time.Time         `json:"at"`
	Actor  string            `json:"actor"`
	Action string            `json:"action"`
	Detail map[string]string `json:"detail,omitempty"`
}

// EncodeEvent is the stored form of e without Seq.
func EncodeEvent(e ca.Event) ([]byte, error) {
	if e.Action == "" || e.Actor == "" {
		return nil, fmt.Errorf("event needs an action and an actor")
	}
	body, err := json.Marshal(event{
		At: time.UnixMicro(e.At.UnixMicro()).UTC(), Actor: e.Actor, Action: e.Action, Detail: e.Detail,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding event: %w", err)
	}
	if len(body) > MaxEvent {
		return nil, fmt.Errorf("event of %d bytes, at most %d are kept", len(body), MaxEvent)
	}
	return body, nil
}

// DecodeEvent reads what EncodeEvent wrote.
func DecodeEvent(seq uint64, body []byte) (ca.Event, error) {
	var e event
	decode := json.NewDecoder(bytes.NewReader(body))
	decode.DisallowUnknownFields()
	if err := decode.Decode(&e); err != nil {
		return ca.Event{}, fmt.Errorf("event %d is damaged: %w", seq, err)
	}
	return ca.Event{Seq: seq, At: e.At, Actor: e.Actor, Action: e.Action, Detail: e.Detail}, nil
}

// Void says that a recorded certificate never left the process.
type Void struct {
	Record uint64 // Seq of the record
	Reason string
}

// Encode is what the hash chain of voids covers.
func (v Void) Encode() []byte {
	return append(binary.BigEndian.AppendUint64(nil, v.Record), v.Reason...)
}

// Check refuses a void that cannot be kept.
func (v Void) Check() error {
	if v.Reason == "" || len(v.Reason) > MaxVoidReason {
		return fmt.Errorf("reason of %d bytes, needs 1 to %d", len(v.Reason), MaxVoidReason)
	}
	if !utf8.ValidString(v.Reason) || strings.ContainsRune(v.Reason, 0) { // no text to every database
		return fmt.Errorf("reason %q is not a text", v.Reason)
	}
	return nil
}
