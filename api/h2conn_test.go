package api_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/ca"
)

// rawConn speaks HTTP/2 frame by frame, as no client library would.
type rawConn struct {
	*http2.Framer
	tls    *tls.Conn
	fields *hpack.Encoder
	block  bytes.Buffer
}

// dialRaw opens a connection, sends the preface and the given settings.
func dialRaw(t *testing.T, s *apitest.Server, settings ...http2.Setting) *rawConn {
	t.Helper()
	plain, err := s.Connect(t.Context())
	require.NoError(t, err)
	conn := tls.Client(plain, s.ClientTLS(t, nil, "h2"))
	t.Cleanup(func() { _ = conn.Close() }) // the server may have closed it
	require.NoError(t, conn.SetDeadline(time.Now().Add(answerLimit)))
	c := &rawConn{tls: conn, Framer: http2.NewFramer(conn, conn)}
	c.AllowIllegalWrites = true
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.fields = hpack.NewEncoder(&c.block)
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	require.NoError(t, c.WriteSettings(settings...))
	return c
}

// encode is the header block of a gRPC call.
func (c *rawConn) encode(t *testing.T, path string, more ...string) []byte {
	t.Helper()
	c.block.Reset()
	fields := []string{":method", "POST", ":scheme", "https", ":path", path, ":authority", "kedge", "te", "trailers"}
	if !slices.Contains(more, "content-type") {
		fields = append(fields, "content-type", "application/grpc")
	}
	fields = append(fields, more...)
	for i := 0; i < len(fields); i += 2 {
		require.NoError(t, c.fields.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return bytes.Clone(c.block.Bytes())
}

// call sends a whole call on stream 1.
func (c *rawConn) call(t *testing.T, path string, body []byte, more ...string) {
	t.Helper()
	require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: c.encode(t, path, more...), EndHeaders: true, EndStream: body == nil,
	}))
	for body != nil {
		n := min(len(body), 16<<10)
		require.NoError(t, c.WriteData(1, n == len(body), body[:n]))
		if body = body[n:]; len(body) == 0 {
			body = nil
		}
	}
}

// outcome is how the server ended a stream or the connection.
type outcome struct {
	http   string            // :status
	grpc   string            // grpc-status
	reset  http2.ErrCode     // of RST_STREAM, if isReset
	goAway http2.ErrCode     // of GOAWAY, if isGone
	header map[string]string // all headers and trailers

	isReset, isGone, closed bool
}

// refused tells whether the server did not do what was asked.
func (o outcome) refused() bool {
	return o.closed || o.isReset || o.isGone || o.http != "200" || o.grpc != "" && o.grpc != "0"
}

// reason is the reason in the status's details, "" if it has none; one that has it
// has a request id, too.
func (o outcome) reason(t *testing.T) ca.Reason {
	t.Helper()
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(o.header["grpc-status-details-bin"], "="))
	require.NoError(t, err)
	var st statuspb.Status
	require.NoError(t, proto.Unmarshal(raw, &st))
	for _, detail := range st.GetDetails() {
		var info errdetails.ErrorInfo
		if detail.MessageIs(&info) {
			require.NoError(t, detail.UnmarshalTo(&info))
			require.Len(t, info.GetMetadata()["request_id"], 16)
			return ca.Reason(info.GetReason())
		}
	}
	return ""
}

// end reads until stream 1 or the connection ends.
func (c *rawConn) end(t *testing.T) outcome {
	t.Helper()
	o := outcome{header: make(map[string]string)}
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server neither answered nor closed")
			o.closed = true
			return o
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.WriteSettingsAck() // the server may have closed the connection
			}
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				o.header[h.Name] = h.Value
			}
			o.http, o.grpc = o.header[":status"], o.header["grpc-status"]
			if f.StreamEnded() {
				return o
			}
		case *http2.RSTStreamFrame:
			o.reset, o.isReset = f.ErrCode, true
			return o
		case *http2.GoAwayFrame:
			o.goAway, o.isGone = f.ErrCode, true
			return o
		}
	}
}

// message frames a protocol buffer as gRPC does.
func message(body []byte, isCompressed bool) []byte {
	frame := make([]byte, 5, 5+len(body))
	if isCompressed {
		frame[0] = 1
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(body)))
	return append(frame, body...)
}

// raw writes a frame as it is.
func (c *rawConn) raw(t *testing.T, kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) {
	t.Helper()
	require.NoError(t, c.WriteRawFrame(kind, flags, stream, payload))
}

// header writes the header of a frame that never comes.
func (c *rawConn) header(t *testing.T, length uint32, kind http2.FrameType, flags byte, stream uint32) {
	t.Helper()
	b := []byte{byte(length >> 16), byte(length >> 8), byte(length), byte(kind), flags}
	_, err := c.tls.Write(binary.BigEndian.AppendUint32(b, stream))
	require.NoError(t, err)
}

// callInPieces is call with a header block of any size, in CONTINUATION frames.
// The server may close the connection before it is all written.
func (c *rawConn) callInPieces(t *testing.T, path string, body []byte, more ...string) {
	t.Helper()
	block := c.encode(t, path, more...)
	first := min(len(block), 16<<10)
	err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:first], EndHeaders: first == len(block)})
	for block = block[first:]; err == nil && len(block) > 0; {
		n := min(len(block), 16<<10)
		err = c.WriteContinuation(1, n == len(block), block[:n])
		block = block[n:]
	}
	if err == nil {
		_ = c.WriteData(1, true, body)
	}
}
