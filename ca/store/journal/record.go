package journal

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

const (
	// MaxRecord bounds an encoded record. A usual one has 300 to 500 bytes, the
	// longest SPIFFE ID 2 048.
	MaxRecord = 16 << 10
	// recordVersion is the first byte of an encoded record. Another layout gets
	// another number, and DecodeRecord reads both.
	recordVersion = 1
	maxSerial     = 20 // octets, RFC 5280 §4.1.2.2
)

// AppendRecord appends to b the stored form of r without Seq and VoidedReason,
// which the store keeps beside it. Binary, because every byte of it is paid for on
// the path of a request: JSON costs three times the time and twice the space.
func AppendRecord(b []byte, r *ca.Record) ([]byte, error) {
	begin := len(b)
	b = append(b, recordVersion)
	b, err := appendSerial(b, r.Serial)
	if err != nil {
		return nil, err
	}
	for _, t := range [...]time.Time{r.IssuedAt, r.NotBefore, r.NotAfter} {
		b = binary.BigEndian.AppendUint64(b, uint64(t.UnixMicro()))
	}
	b = append(b, r.KeyHash[:]...)
	b = append(b, r.TBSHash[:]...)
	b = append(b, r.Anchor[:]...)
	b = binary.AppendUvarint(b, r.BundleSeq)
	e := &r.Evidence
	for _, s := range [...]string{
		r.Identity, r.Profile, r.Issuer, string(e.Method), e.Issuer, e.Subject,
		e.Cluster, e.Pod, e.Node, e.TokenHash, e.Peer, r.RequestID,
	} {
		b = appendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(r.DNSNames)))
	for _, s := range r.DNSNames {
		b = appendText(b, s)
	}
	if n := len(b) - begin; n > MaxRecord {
		return nil, fmt.Errorf("record of %d bytes, at most %d are kept", n, MaxRecord)
	}
	return b, nil
}

// DecodeRecord reads what AppendRecord wrote and refuses everything else.
func DecodeRecord(seq uint64, body []byte) (ca.Record, error) {
	d := decoder{rest: body}
	if version := d.bytes(1); d.failed == "" && version[0] != recordVersion {
		return ca.Record{}, fmt.Errorf("record %d has layout %d; a newer version wrote it", seq, version[0])
	}
	r := ca.Record{Seq: seq, Serial: d.serial()}
	for _, t := range []*time.Time{&r.IssuedAt, &r.NotBefore, &r.NotAfter} {
		*t = d.time()
	}
	copy(r.KeyHash[:], d.bytes(32))
	copy(r.TBSHash[:], d.bytes(32))
	copy(r.Anchor[:], d.bytes(32))
	r.BundleSeq = d.uvarint()
	e := &r.Evidence
	var method string
	for _, s := range []*string{
		&r.Identity, &r.Profile, &r.Issuer, &method, &e.Issuer, &e.Subject,
		&e.Cluster, &e.Pod, &e.Node, &e.TokenHash, &e.Peer, &r.RequestID,
	} {
		*s = d.text()
	}
	e.Method = ca.Method(method)
	if n := d.uvarint(); n > uint64(len(d.rest)) { // each name takes a byte at least
		d.fail("more names than bytes")
	} else if n > 0 {
		r.DNSNames = make([]string, n)
		for i := range r.DNSNames {
			r.DNSNames[i] = d.text()
		}
	}
	if len(d.rest) > 0 {
		d.fail("bytes after its end")
	}
	if d.failed != "" {
		return ca.Record{}, fmt.Errorf("record %d is damaged: %s", seq, d.failed)
	}
	return r, nil
}

// DecodeLiveKey reads out of an encoded record what an authority has to know again
// at a start, and nothing else: this is done for every live certificate.
func DecodeLiveKey(seq uint64, body []byte) (ca.LiveKey, error) {
	d := decoder{rest: body}
	if version := d.bytes(1); d.failed == "" && version[0] != recordVersion {
		return ca.LiveKey{}, fmt.Errorf("record %d has layout %d; a newer version wrote it", seq, version[0])
	}
	key := ca.LiveKey{Serial: d.serial()}
	d.bytes(16) // IssuedAt, NotBefore
	key.NotAfter = d.time()
	copy(key.KeyHash[:], d.bytes(32))
	d.bytes(32) // TBSHash
	copy(key.Anchor[:], d.bytes(32))
	key.BundleSeq = d.uvarint()
	key.Identity, key.Profile = d.text(), d.text()
	d.skip() // Issuer
	key.Method = ca.Method(d.text())
	d.skip() // Evidence.Issuer
	if subject := d.text(); key.Method == ca.MethodCertificate {
		key.Renews = subject
	}
	if d.failed != "" {
		return ca.LiveKey{}, fmt.Errorf("record %d is damaged: %s", seq, d.failed)
	}
	return key, nil
}

// Canonical is r as a store gives it back: times in UTC to the microsecond.
func Canonical(r ca.Record) ca.Record {
	for _, t := range []*time.Time{&r.IssuedAt, &r.NotBefore, &r.NotAfter} {
		*t = time.UnixMicro(t.UnixMicro()).UTC()
	}
	if len(r.DNSNames) == 0 {
		r.DNSNames = nil
	}
	return r
}

// SerialOf reads the serial out of an encoded record.
func SerialOf(body []byte) (string, error) {
	d := decoder{rest: body}
	d.bytes(1)
	serial := d.serial()
	if d.failed != "" {
		return "", fmt.Errorf("record is damaged: %s", d.failed)
	}
	return serial, nil
}

func appendSerial(b []byte, serial string) ([]byte, error) {
	var octets [maxSerial]byte
	n := len(serial) / 2
	switch {
	case n == 0 || n > maxSerial || len(serial)%2 != 0:
		return nil, fmt.Errorf("serial of %d hex digits, needs 2 to %d in pairs", len(serial), 2*maxSerial)
	case !isLowerHex(serial):
		return nil, fmt.Errorf("serial is not lower-case hex")
	case serial[:2] == "00":
		return nil, fmt.Errorf("serial has a leading zero octet")
	}
	if _, err := hex.Decode(octets[:n], []byte(serial)); err != nil {
		return nil, fmt.Errorf("serial: %w", err)
	}
	b = append(b, byte(n))
	return append(b, octets[:n]...), nil
}

// appendText writes a length and a string. Hashes and key ids, which travel as
// hex, take half the room: the lowest bit of the length says that hex was packed.
func appendText(b []byte, s string) []byte {
	if packs(s) {
		b = binary.AppendUvarint(b, uint64(len(s)/2)<<1|1)
		b, _ = hex.AppendDecode(b, []byte(s)) // packs has seen that it is hex
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(s))<<1)
	return append(b, s...)
}

// packs is true for hex of 16 digits or more; below, nothing is won.
func packs(s string) bool {
	return len(s) >= 16 && len(s)%2 == 0 && isLowerHex(s)
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
