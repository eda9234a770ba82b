package journal

import (
	"crypto/sha256"
	"encoding/binary"
)

// Head is the hash that stands at the end of a log and covers everything before
// it.
type Head [sha256.Size]byte

// Log names one of the logs of a store; each has its own sequence and chain.
type Log string

// The logs.
const (
	Records Log = "records"
	Events  Log = "events"
	Voids   Log = "voids"
)

// Origin is the head of an empty log. It differs between logs, so that the rows
// of one can never pass for those of another.
func (l Log) Origin() Head {
	return sha256.Sum256([]byte("kedge journal 1 " + string(l)))
}

// Link computes the next head over the rows that one transaction adds:
//
//	head' = SHA-256(head || for each row: seq (8) || length (4) || body)
//
// One hash for a transaction, not for a row: rows that become durable together
// are covered together, and the last of them carries the head. A Link is reused;
// it is not safe for concurrent use.
type Link struct {
	buf []byte
}

// Begin starts a link after head.
func (l *Link) Begin(head Head) {
	l.buf = append(l.buf[:0], head[:]...)
}

// Add adds a row.
func (l *Link) Add(seq uint64, body []byte) {
	l.buf = binary.BigEndian.AppendUint64(l.buf, seq)
	l.buf = binary.BigEndian.AppendUint32(l.buf, uint32(len(body)))
	l.buf = append(l.buf, body...)
}

// Head is the head after the rows that were added.
func (l *Link) Head() Head { return sha256.Sum256(l.buf) }
