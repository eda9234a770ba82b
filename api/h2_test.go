package api_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"

	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// answerLimit is far above the time that any answer takes; it only keeps a
// broken server from hanging the tests.
const answerLimit = time.Minute

const issuePath = "/kedge.v1.CertificateAuthority/Issue"

func issueMessage(t *testing.T) []byte {
	t.Helper()
	body, err := proto.Marshal(&kedgev1.IssueRequest{Csr: apitest.CSR(t, "")})
	require.NoError(t, err)
	return message(body, false)
}

// requireAlive requires that the server issues to somebody else.
func requireAlive(t *testing.T, s *apitest.Server) {
	t.Helper()
	before := len(s.CA.Recorder.Records())
	_, err := issue(t, s, s.As(t, "bystander"))
	require.NoError(t, err)
	require.Len(t, s.CA.Recorder.Records(), before+1)
	require.Zero(t, counter(t, s, "kedge_panics_total"))
}

// TestOnlyTheExactPathReachesAMethod sends the same good call to many spellings
// (CVE-2026-33186: a path without its slash once went round the rules for a
// method but reached it).
func TestOnlyTheExactPathReachesAMethod(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	token := "Bearer " + s.Token(t, "a")
	issued := func() int { return len(s.CA.Recorder.Records()) }

	before := issued()
	c := dialRaw(t, s)
	c.call(t, issuePath, issueMessage(t), "authorization", token)
	o := c.end(t)
	require.Equal(t, "0", o.grpc, "the exact path works: %+v", o)
	require.Equal(t, before+1, issued())

	for _, path := range []string{
		"kedge.v1.CertificateAuthority/Issue", "//kedge.v1.CertificateAuthority/Issue", "/kedge.v1.CertificateAuthority//Issue",
		"/kedge.v1.CertificateAuthority%2fIssue", "/kedge.v1.CertificateAuthority%2FIssue", "%2fkedge.v1.CertificateAuthority/Issue",
		"/KEDGE.V1.CERTIFICATEAUTHORITY/ISSUE", "/kedge.v1.CertificateAuthority/issue", "/kedge.v1.CertificateAuthority/Issue/",
		"/./kedge.v1.CertificateAuthority/Issue", "/x/../kedge.v1.CertificateAuthority/Issue", "/kedge.v1.CertificateAuthority/Issue?x=1",
		"/kedge.v1.CertificateAuthority/Issue#x", " /kedge.v1.CertificateAuthority/Issue", "/kedge.v1.CertificateAuthority/Issue ",
		"/kedge.v1.CertificateAuthority\\Issue", "/kedge.v1.CertificateAuthority/Issue\x00", "https://kedge/kedge.v1.CertificateAuthority/Issue",
		"kedge.v1.Admin/Status", "/kedge.v1.Admin/Status", "/", "", "*", "Issue", "/Issue", strings.Repeat("/", 4096),
	} {
		before := issued()
		c := dialRaw(t, s)
		c.call(t, path, issueMessage(t), "authorization", token)
		o := c.end(t)
		require.True(t, o.refused(), "path %q: %+v", path, o)
		require.Equal(t, before, issued(), "path %q", path)
	}
	requireAlive(t, s)
}

func TestABodyThatLiesAboutItselfIsRefused(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	token := "Bearer " + s.Token(t, "a")
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, err := w.Write(make([]byte, 32<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	rows := map[string]struct {
		body []byte
		more []string
		want ca.Reason // "" where gRPC itself refuses before it has a message
		grpc string    // grpc-status, "" if it does not come so far
	}{
		"4 GiB by its prefix":         {[]byte{0, 255, 255, 255, 255, 0, 0, 0, 0, 0}, nil, "", "8"},
		"one byte over the limit":     {message(make([]byte, 64<<10+1), false)[:1000], nil, "", "8"},
		"32 MiB, compressed":          {message(bomb.Bytes(), true), []string{"grpc-encoding", "gzip"}, "", "12"},
		"compressed, nobody says how": {message(bomb.Bytes(), true), nil, "", "13"},
		"an unknown compression":      {message([]byte{1}, true), []string{"grpc-encoding", "br"}, "", "12"},
		"a reserved flag":             {append([]byte{2}, issueMessage(t)[1:]...), nil, "", "13"},
		"no message":                  {nil, nil, "", "13"},
		"half a prefix":               {[]byte{0, 0, 0}, nil, "", "13"},
		"half a message":              {issueMessage(t)[:50], nil, "", "13"},
		"two messages":                {append(issueMessage(t), issueMessage(t)...), nil, "", "13"},
		"no protocol buffer":          {message(bytes.Repeat([]byte{0xff}, 64), false), nil, ca.ReasonRequest, "3"},
		"another content type":        {issueMessage(t), []string{"content-type", "application/json"}, "", ""},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			before := len(s.CA.Recorder.Records())
			c := dialRaw(t, s)
			c.call(t, issuePath, row.body, append([]string{"authorization", token}, row.more...)...)
			o := c.end(t)
			require.True(t, o.refused(), "%+v", o)
			if row.grpc != "" {
				require.Equal(t, row.grpc, o.grpc, "%+v", o)
			}
			require.Equal(t, row.want, o.reason(t), "%+v", o)
			require.Len(t, s.CA.Recorder.Records(), before)
			requireAlive(t, s)
		})
	}
}

// TestAMessageThatIsNoneHasItsReasonInEveryMethod: gRPC reads a message before the
// interceptors, and by itself would answer Internal, which Istio's agent retries.
func TestAMessageThatIsNoneHasItsReasonInEveryMethod(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	for _, method := range []string{
		issuePath, kedgev1.CertificateAuthority_GetBundle_FullMethodName, kedgev1.CertificateAuthority_WatchBundle_FullMethodName,
		"/istio.v1.auth.IstioCertificateService/CreateCertificate", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
	} {
		t.Run(method, func(t *testing.T) {
			c := dialRaw(t, s)
			c.call(t, method, message(bytes.Repeat([]byte{0xff}, 64), false))
			o := c.end(t)
			require.Equal(t, "3", o.grpc, "%+v", o)
			require.Equal(t, ca.ReasonRequest, o.reason(t), "%+v", o)
			require.Contains(t, s.Log.String(), "cannot parse invalid wire-format data", "the operator sees why")
			requireAlive(t, s)
		})
	}
	for protocol, want := range map[string]int{"kedge": 5, "istio": 1} {
		require.EqualValues(t, want, counter(t, s, "kedge_refused_total", "reason", "request_malformed", "protocol", protocol))
	}
}

// TestAHostileConnectionHarmsNobodyElse: whatever one connection does, the next
// one is served, and nothing was issued.
func TestAHostileConnectionHarmsNobodyElse(t *testing.T) {
	rows := map[string]func(t *testing.T, c *rawConn){
		"rapid reset (CVE-2023-44487)": func(t *testing.T, c *rawConn) {
			for id := uint32(1); id < 8000; id += 2 {
				if c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(t, issuePath), EndHeaders: true}) != nil ||
					c.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return // the server had enough
				}
			}
		},
		"CONTINUATION flood (CVE-2023-45288)": func(t *testing.T, c *rawConn) {
			require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.encode(t, issuePath)}))
			for range 1000 {
				if c.WriteContinuation(1, false, c.encode(t, issuePath, "x", strings.Repeat("y", 8<<10))) != nil {
					return
				}
			}
			require.Fail(t, "8 MiB of headers were read")
		},
		"more streams than are allowed": func(t *testing.T, c *rawConn) {
			for id := uint32(1); id < 4000; id += 2 {
				if c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(t, issuePath), EndHeaders: true}) != nil {
					return
				}
			}
		},
		"a flood of settings": func(_ *testing.T, c *rawConn) {
			for range 20_000 {
				if c.WriteSettings() != nil {
					return
				}
			}
		},
		"a flood of priorities": func(_ *testing.T, c *rawConn) {
			for id := uint32(1); id < 20_000; id += 2 {
				if c.WritePriority(id, http2.PriorityParam{StreamDep: id + 2, Weight: 1}) != nil {
					return
				}
			}
		},
		"empty data frames": func(t *testing.T, c *rawConn) {
			require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.encode(t, issuePath), EndHeaders: true}))
			for range 20_000 {
				if c.WriteData(1, false, nil) != nil {
					return
				}
			}
		},
		"a preface of garbage": func(_ *testing.T, c *rawConn) {
			_, _ = c.tls.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 1000))
		},
	}
	for name, attack := range rows {
		t.Run(name, func(t *testing.T) {
			s := apitest.New(t, apitest.Options{})
			c := dialRaw(t, s)
			read := make(chan struct{})
			go func() { // else the server's answers fill the pipe
				defer close(read)
				_, _ = io.Copy(io.Discard, c.tls)
			}()
			attack(t, c)
			requireAlive(t, s)
			require.NoError(t, c.tls.NetConn().Close())
			<-read
			require.Len(t, s.CA.Recorder.Records(), 2, "the server's own and the bystander's")
		})
	}
}

func TestABrokenFrameEndsTheConnection(t *testing.T) {
	rows := map[string]func(t *testing.T, c *rawConn){
		"data on stream 0":          func(t *testing.T, c *rawConn) { require.NoError(t, c.WriteData(0, true, []byte("x"))) },
		"headers on an even stream": func(t *testing.T, c *rawConn) { c.raw(t, http2.FrameHeaders, 4, 2, c.encode(t, issuePath)) },
		"a stream id that falls": func(t *testing.T, c *rawConn) {
			c.raw(t, http2.FrameHeaders, 4, 5, c.encode(t, issuePath))
			c.raw(t, http2.FrameHeaders, 4, 3, c.encode(t, issuePath))
		},
		"a window above 2^31":        func(t *testing.T, c *rawConn) { c.raw(t, http2.FrameSettings, 0, 0, []byte{0, 4, 0x80, 0, 0, 0}) },
		"settings of half a pair":    func(t *testing.T, c *rawConn) { c.raw(t, http2.FrameSettings, 0, 0, []byte{0, 4, 0}) },
		"a frame of 16 MiB":          func(t *testing.T, c *rawConn) { c.header(t, 1<<24-1, http2.FrameData, 0, 1) },
		"continuation of nothing":    func(t *testing.T, c *rawConn) { require.NoError(t, c.WriteContinuation(1, true, nil)) },
		"a block that is no HPACK":   func(t *testing.T, c *rawConn) { c.raw(t, http2.FrameHeaders, 4, 1, bytes.Repeat([]byte{0xff}, 64)) },
		"a ping of 7 bytes":          func(t *testing.T, c *rawConn) { c.raw(t, http2.FramePing, 0, 0, make([]byte, 7)) },
		"padding beyond the frame":   func(t *testing.T, c *rawConn) { c.raw(t, http2.FrameHeaders, 4|8, 1, []byte{255, 0}) },
		"a window update of nothing": func(t *testing.T, c *rawConn) { c.raw(t, http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) },
	}
	s := apitest.New(t, apitest.Options{})
	for name, attack := range rows {
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, s)
			attack(t, c)
			o := c.end(t)
			require.True(t, o.closed || o.isGone || o.isReset, "%+v", o)
			requireAlive(t, s)
		})
	}
}

func TestHeadersAreBoundedInSizeAndNumber(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	many := make([]string, 0, 20_000)
	for i := range 10_000 {
		many = append(many, "x-"+strconv.Itoa(i), "y")
	}
	rows := map[string][]string{
		"10 000 fields":  many,
		"one of 40 KiB":  {"x", strings.Repeat("y", 40<<10)},
		"a 1 MiB token":  {"authorization", "Bearer " + strings.Repeat("y", 1<<20)},
		"two of 20 KiB":  {"x", strings.Repeat("y", 20<<10), "z", strings.Repeat("y", 20<<10)},
		"a 40 KiB path":  {":path", "/" + strings.Repeat("y", 40<<10)},
		"an upper case":  {"Authorization", "Bearer x"},
		"a line feed":    {"x", "y\nauthorization: Bearer z"},
		"a connection":   {"connection", "keep-alive"},
		"a 2nd :path":    {":path", issuePath},
		"an odd pseudo":  {":kedge", "x"},
		"pseudo at last": {"x", "y", ":authority", "kedge"},
	}
	for name, more := range rows {
		t.Run(name, func(t *testing.T) {
			before := len(s.CA.Recorder.Records())
			c := dialRaw(t, s)
			c.callInPieces(t, issuePath, issueMessage(t), append([]string{"authorization", "Bearer " + s.Token(t, "a")}, more...)...)
			o := c.end(t)
			require.True(t, o.refused(), "%+v", o)
			require.Len(t, s.CA.Recorder.Records(), before)
			requireAlive(t, s)
		})
	}
}
