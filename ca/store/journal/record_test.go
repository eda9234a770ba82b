package journal_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

var issued = time.Date(2026, 11, 24, 9, 0, 0, 123456000, time.UTC)

func record(n int) ca.Record {
	return ca.Record{
		Seq:      uint64(n),
		Serial:   fmt.Sprintf("7f%038x", n),
		Identity: fmt.Sprintf("spiffe://cluster.local/ns/team-%d/sa/app-%d", n%7, n%100),
		DNSNames: []string{"app.default.serviceaccount.identity.linkerd.cluster.local", "10.0.0.1"},
		Evidence: ca.Evidence{
			Method: ca.MethodKubernetes, Issuer: "https://kubernetes.default.svc", Subject: "system:serviceaccount:team:app",
			Cluster: "eu-1", Pod: "app-1/0a1b", Node: "node-1/2c3d", TokenHash: strings.Repeat("ab", 32), Peer: "10.1.2.3:40112",
		},
		Profile: "mesh", KeyHash: [32]byte{1, byte(n)}, TBSHash: [32]byte{2, byte(n)},
		Issuer: strings.Repeat("0f", 20), Anchor: ca.AnchorID{3}, BundleSeq: 300,
		IssuedAt: issued.Add(time.Duration(n) * time.Millisecond), NotBefore: issued.Truncate(time.Second),
		NotAfter: issued.Truncate(time.Second).Add(24 * time.Hour), RequestID: "req-1",
	}
}

func encode(r ca.Record) ([]byte, error) { return journal.AppendRecord(nil, &r) }

func TestRecordDecodesToWhatWasEncoded(t *testing.T) {
	precise := record(4)
	precise.IssuedAt = precise.IssuedAt.Add(789).In(time.FixedZone("", 3600))
	odd := record(5)
	odd.Identity, odd.RequestID, odd.Evidence.Peer = "deadbeefdeadbeef", "0123456789abcde", "0123456789abcdeg" // hex, or nearly
	renewal := record(6)
	renewal.Evidence.Method, renewal.Evidence.Subject = ca.MethodCertificate, record(5).Serial
	for name, r := range map[string]ca.Record{
		"a renewal":               renewal,
		"a full record":           record(1),
		"the least that is kept":  {Seq: 2, Serial: "01"},
		"a zero time":             {Seq: 3, Serial: "01", NotAfter: issued},
		"a time below what stays": precise,
		"texts that are hex":      odd,
	} {
		t.Run(name, func(t *testing.T) {
			body, err := encode(r)
			require.NoError(t, err)
			decoded, err := journal.DecodeRecord(r.Seq, body)
			require.NoError(t, err)
			require.Equal(t, journal.Canonical(r), decoded)
			serial, err := journal.SerialOf(body)
			require.NoError(t, err)
			require.Equal(t, r.Serial, serial)
			key, err := journal.DecodeLiveKey(r.Seq, body)
			require.NoError(t, err)
			require.Equal(t, decoded.LiveKey(), key)
		})
	}
}

func TestRecordOfAKubernetesWorkloadIsSmall(t *testing.T) {
	r := record(1)
	r.DNSNames = nil
	body, err := encode(r)
	require.NoError(t, err)
	require.Less(t, len(body), 400)
}

func TestAppendRecordRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(*ca.Record)
		want  string
	}{
		"no serial":             {func(r *ca.Record) { r.Serial = "" }, "serial of 0 hex digits"},
		"half an octet":         {func(r *ca.Record) { r.Serial = "abc" }, "serial of 3 hex digits"},
		"21 octets":             {func(r *ca.Record) { r.Serial = strings.Repeat("7f", 21) }, "serial of 42 hex digits"},
		"upper-case hex":        {func(r *ca.Record) { r.Serial = "7F" }, "not lower-case hex"},
		"a sign":                {func(r *ca.Record) { r.Serial = "-7" }, "not lower-case hex"},
		"a leading zero octet":  {func(r *ca.Record) { r.Serial = "007f" }, "leading zero octet"},
		"more than is kept":     {func(r *ca.Record) { r.Evidence.Subject = strings.Repeat("x", journal.MaxRecord) }, "at most 16384"},
		"too many names":        {func(r *ca.Record) { r.DNSNames = make([]string, journal.MaxRecord) }, "at most 16384"},
		"an endless identity":   {func(r *ca.Record) { r.Identity = "spiffe://td/" + strings.Repeat("a/", journal.MaxRecord) }, "at most 16384"},
		"an endless request id": {func(r *ca.Record) { r.RequestID = strings.Repeat("ab", journal.MaxRecord) }, "at most 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			r := record(1)
			row.spoil(&r)
			_, err := encode(r)
			require.ErrorContains(t, err, row.want)
		})
	}
}

func TestDecodeRecordRefusesEveryTruncationAndMore(t *testing.T) {
	body, err := encode(record(1))
	require.NoError(t, err)
	for n := range body {
		_, err := journal.DecodeRecord(1, body[:n])
		require.Error(t, err, "%d bytes", n)
		_, err = journal.DecodeLiveKey(1, body[:min(n, 170)])
		require.Error(t, err, "%d bytes", n)
	}
	_, err = journal.DecodeRecord(1, append(body, 0))
	require.ErrorContains(t, err, "record 1 is damaged: bytes after its end")
	body[0] = 2
	_, err = journal.DecodeRecord(1, body)
	require.ErrorContains(t, err, "a newer version wrote it")
}

// FuzzDecodeRecord: what decodes encodes to the same bytes.
func FuzzDecodeRecord(f *testing.F) {
	for n := range 3 {
		body, err := encode(record(n))
		require.NoError(f, err)
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := journal.DecodeRecord(1, body)
		if err != nil {
			return
		}
		key, err := journal.DecodeLiveKey(1, body)
		require.NoError(t, err)
		require.Equal(t, r.LiveKey(), key)
		again, err := encode(r)
		if len(body) > journal.MaxRecord {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, body, again)
	})
}

func BenchmarkAppendRecord(b *testing.B) {
	r := record(1)
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buffer, err = journal.AppendRecord(buffer[:0], &r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEventDecodesToWhatWasEncoded(t *testing.T) {
	e := ca.Event{Seq: 7, At: issued, Actor: "uid:0", Action: "intermediate.renew", Detail: map[string]string{"z": "1", "a": "<2>"}}
	body, err := journal.EncodeEvent(e)
	require.NoError(t, err)
	require.JSONEq(t, `{"at":"2026-11-24T09:00:00.123456Z","actor":"uid:0","action":"intermediate.renew","detail":{"a":"<2>","z":"1"}}`, string(body))
	decoded, err := journal.DecodeEvent(7, body)
	require.NoError(t, err)
	require.Equal(t, e, decoded)
}

func TestEncodeEventRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		event ca.Event
		want  string
	}{
		"no action":         {ca.Event{Actor: "system"}, "needs an action and an actor"},
		"no actor":          {ca.Event{Action: "start"}, "needs an action and an actor"},
		"more than is kept": {ca.Event{Actor: "a", Action: "b", Detail: map[string]string{"c": strings.Repeat("x", journal.MaxEvent)}}, "at most 65536"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := journal.EncodeEvent(row.event)
			require.ErrorContains(t, err, row.want)
		})
	}
}

func TestDecodeEventRefusesOtherJSON(t *testing.T) {
	for _, body := range []string{``, `{`, `[]`, `{"extra":1}`} {
		_, err := journal.DecodeEvent(3, []byte(body))
		require.ErrorContains(t, err, "event 3 is damaged", body)
	}
}

func TestVoidNeedsAReason(t *testing.T) {
	require.NoError(t, journal.Void{Record: 1, Reason: "signing failed"}.Check())
	require.Error(t, journal.Void{Record: 1}.Check())
	require.Error(t, journal.Void{Record: 1, Reason: strings.Repeat("x", journal.MaxVoidReason+1)}.Check())
}
