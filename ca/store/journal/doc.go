// Package journal has the bytes of the durable log, the same in every store: how
// a record, an event and a void are encoded, how they are chained by hash, and
// the summary of a segment of records that lets a search skip it.
//
// It promises one encoding for one value: what decodes encodes to the same bytes
// again, so that the hash over the bytes is a hash over the value.
//
// It refuses records that are too large, serials that are not canonical, and
// bytes that it would not have written.
//
// It is pure: no I/O, no clock. The stores call it.
package journal
