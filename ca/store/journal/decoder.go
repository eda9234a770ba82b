package journal

import (
	"encoding/binary"
	"encoding/hex"
	"time"
)

// decoder reads encoded fields and remembers the first thing that is wrong; after
// that every field is zero.
type decoder struct {
	rest   []byte
	failed string
}

func (d *decoder) fail(what string) {
	if d.failed == "" {
		d.failed = what
	}
	d.rest = nil
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.rest) {
		d.fail("it ends early")
		return make([]byte, min(n, 32))
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 { // a last byte of zero is a longer form of a shorter number
		d.fail("a length is not canonical")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) time() time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(d.bytes(8)))).UTC()
}

func (d *decoder) serial() string {
	n := int(d.bytes(1)[0])
	if d.failed == "" && (n == 0 || n > maxSerial) {
		d.fail("serial length")
		return ""
	}
	b := d.bytes(n)
	if d.failed == "" && b[0] == 0 {
		d.fail("serial has a leading zero octet")
		return ""
	}
	return hex.EncodeToString(b)
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n>>1 > uint64(len(d.rest)) {
		d.fail("it ends early")
		return ""
	}
	b := d.bytes(int(n >> 1))
	if n&1 == 0 {
		s := string(b)
		if packs(s) {
			d.fail("hex is not packed")
		}
		return s
	}
	s := hex.EncodeToString(b)
	if !packs(s) {
		d.fail("a short text is packed")
	}
	return s
}

// skip passes over a text.
func (d *decoder) skip() {
	n := d.uvarint()
	if n>>1 > uint64(len(d.rest)) {
		d.fail("it ends early")
		return
	}
	d.bytes(int(n >> 1))
}
