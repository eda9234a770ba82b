package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// testApp is an app whose edges are buffers and whose clock stands still.
func testApp(now time.Time) (a *app, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &app{
		stdin: strings.NewReader(""), stdout: stdout, stderr: stderr, output: "table",
		now: func() time.Time { return now }, getenv: func(string) string { return "" },
	}, stdout, stderr
}

func statusWith(t *testing.T, code codes.Code, message string, details ...protoadapt.MessageV1) error {
	t.Helper()
	st, err := status.New(code, message).WithDetails(details...)
	require.NoError(t, err)
	return st.Err()
}

func TestErrorsHaveACodeAndTheNextStep(t *testing.T) {
	info := &errdetails.ErrorInfo{Reason: "overloaded", Domain: "kedge.dev", Metadata: map[string]string{"request_id": "00ff"}}
	help := &errdetails.Help{Links: []*errdetails.Help_Link{{Url: "https://x.example/errors#overloaded"}}}
	retry := &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)}
	rows := []struct {
		name string
		err  error
		want failure
	}{
		{"of this program", errors.New("no such thing"), failure{Error: "no such thing"}},
		{"with a step", fmt.Errorf("outer: %w", &stepError{"code_x", "do y", errors.New("inner")}), failure{Error: "outer: inner", Code: "code_x", Next: "do y"}},
		{"of the domain", ca.Refuse(ca.ReasonNotReady, "no intermediate"), failure{Error: "not_ready: no intermediate", Code: "not_ready", Help: errorsURL + "not_ready"}},
		{"of the module", &fips.StartError{Code: "godebug", Detail: "fips140=off"}, failure{Error: "fips: godebug: fips140=off", Code: "godebug", Next: "see docs/fips.md"}},
		{"refused", statusWith(t, codes.ResourceExhausted, "overloaded: Come back later.", info, help, retry),
			failure{Error: "Come back later.", Code: "overloaded", RequestID: "00ff", Next: "try again in 1.5s", Help: "https://x.example/errors#overloaded"}},
		{"refused at the local socket", statusWith(t, codes.ResourceExhausted, "overloaded: detail", info), failure{Error: "detail", Code: "overloaded", RequestID: "00ff", Help: errorsURL + "overloaded"}},
		{"refused, wrapped", fmt.Errorf("asking: %w", statusWith(t, codes.Internal, "x", info)), failure{Error: "asking: rpc error: code = Internal desc = x", Code: "overloaded", RequestID: "00ff", Help: errorsURL + "overloaded"}},
		{"no connection", status.Error(codes.Unavailable, "connection refused"), failure{Error: "connection refused", Code: "unreachable", Next: "check the address, and that the bundle is the server's"}},
		{"no answer", status.FromContextError(context.DeadlineExceeded).Err(), failure{Error: "context deadline exceeded", Code: "timeout", Next: "the server did not answer in time: try again, and look at its log"}},
		{"an old server", status.Error(codes.Unimplemented, "unknown method"), failure{Error: "unknown method", Code: "not_supported", Next: "the server is older than this program, or is no Kedge server"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { require.Equal(t, r.want, describe(r.err)) })
	}
}

func TestErrorsArePrintedOnStandardErrorOnly(t *testing.T) {
	err := &stepError{"code_x", "do y", errors.New("bad name \x1b[31m\nsecond line")}
	a, stdout, stderr := testApp(time.Now())
	a.printError(err)
	require.Equal(t, "error: bad name \\x1b[31m\nsecond line\ncode: code_x\nnext: do y\n", stderr.String())
	stderr.Reset()
	a.output = "json"
	a.printError(err)
	require.JSONEq(t, `{"error":"bad name \u001b[31m\nsecond line","code":"code_x","next":"do y"}`, stderr.String())
	require.Empty(t, stdout.String())
}

type sample struct {
	Serial string    `json:"serial"`
	At     time.Time `json:"at"`
	Few    []string  `json:"few"`
	None   []string  `json:"none,omitempty"`
	Big    uint64    `json:"big"`
}

func TestDataHasAVersionAndAKind(t *testing.T) {
	v := sample{Serial: "12e5", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Few: []string{"null", "0x1f"}, Big: 1 << 63}
	a, stdout, _ := testApp(time.Now())
	a.output = "json"
	require.NoError(t, a.print("Sample", v, nil))
	require.Equal(t, `{"apiVersion":"kedge.dev/v1","kind":"Sample","serial":"12e5","at":"2026-01-02T03:04:05Z","few":["null","0x1f"],"big":9223372036854775808}`+"\n", stdout.String())
	stdout.Reset()
	require.NoError(t, a.print("Nothing", struct{}{}, nil))
	require.Equal(t, `{"apiVersion":"kedge.dev/v1","kind":"Nothing"}`+"\n", stdout.String())
}

// TestYAMLKeepsOrderAndTypes has a serial that YAML would read as the number 1 200 000.
func TestYAMLKeepsOrderAndTypes(t *testing.T) {
	v := sample{Serial: "12e5", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Few: []string{"null", "no", "a: b"}, Big: 1 << 63}
	a, stdout, _ := testApp(time.Now())
	a.output = "yaml"
	require.NoError(t, a.print("Sample", v, func(*tabwriter.Writer) { t.Error("a table was asked for") }))
	one := stdout.String()
	require.Equal(t, `---
apiVersion: "kedge.dev/v1"
kind: "Sample"
serial: "12e5"
at: "2026-01-02T03:04:05Z"
few:
- "null"
- "no"
- "a: b"
big: 9223372036854775808
`, one)
	back, err := yaml.YAMLToJSON([]byte(one))
	require.NoError(t, err)
	var got sample
	require.NoError(t, json.Unmarshal(back, &got))
	require.Equal(t, v, got)

	require.NoError(t, a.print("Sample", v, nil))
	decoder := yaml.NewDecoder(strings.NewReader(stdout.String()))
	for range 2 {
		var doc map[string]any
		require.NoError(t, decoder.Decode(&doc), "several are a stream of documents")
		require.Equal(t, "12e5", doc["serial"])
	}
}

func TestOutputFormatsAreThree(t *testing.T) {
	a, _, _ := testApp(time.Now())
	for _, format := range []string{"table", "json", "yaml"} {
		a.output = format
		require.NoError(t, a.checkOutput())
	}
	a.output = "xml"
	require.ErrorContains(t, a.checkOutput(), `output "xml" is none of table, json, yaml`)
}

func TestTimesAreAbsoluteAndRelative(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for want, d := range map[string]time.Duration{
		"2026-11-24T12:00:00Z (in 0s)":     0,
		"2026-11-24T11:59:01Z (59s ago)":   -59 * time.Second,
		"2026-11-24T12:02:03Z (in 2m3s)":   2*time.Minute + 3*time.Second,
		"2026-11-25T11:59:59Z (in 23h59m)": 24*time.Hour - time.Second,
		"2026-12-01T11:00:00Z (in 6d23h)":  7*24*time.Hour - time.Hour,
		"2036-11-21T12:00:00Z (in 10y0d)":  3650 * 24 * time.Hour,
		"2025-11-23T12:00:00Z (1y1d ago)":  -366 * 24 * time.Hour,
	} {
		require.Equal(t, want, relative(now.Add(d).In(time.FixedZone("far", 9*3600)), now))
	}
	require.Equal(t, "-", relative(time.Time{}, now))
}

func TestTerminalsAreNotCommanded(t *testing.T) {
	require.Equal(t, `spiffe://x/é√`, printable("spiffe://x/é√"))
	require.Equal(t, `a b`, printable("a b"))
	require.Equal(t, `\x1b[2Ja\u202eb\r`, printable("\x1b[2Ja\u202eb\r"))
	require.Equal(t, `\xff`, printable("\xff"))
}

func TestColourIsForTerminalsOnly(t *testing.T) {
	a, _, _ := testApp(time.Now())
	require.Equal(t, "√‼×", a.mark(ca.LevelOK)+a.mark(ca.LevelWarn)+a.mark(ca.LevelFail))
	a.color = true
	require.Equal(t, "\x1b[32m√\x1b[0m", a.mark(ca.LevelOK))
}
