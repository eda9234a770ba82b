package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// apiVersion stands in everything that is printed as JSON or YAML.
const apiVersion = "kedge.dev/v1"

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (a *app) checkOutput() error {
	switch a.output {
	case "table", "json", "yaml":
		return nil
	}
	return fmt.Errorf("output %q is none of table, json, yaml", a.output)
}

// print writes v as the user wants it. JSON and YAML have apiVersion and kind
// beside the fields of v, which must encode as an object; table writes the rest.
// JSON is one line, and a YAML document begins with ---, so that several in a row
// are a stream.
func (a *app) print(kind string, v any, table func(w *tabwriter.Writer)) error {
	if a.output == "table" && table != nil {
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		table(w)
		return w.Flush()
	}
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding output: %w", err)
	}
	head := fmt.Sprintf(`{"apiVersion":%q,"kind":%q`, apiVersion, kind)
	if string(body) != "{}" {
		head += ","
	}
	body = append([]byte(head), body[1:]...)
	if a.output == "yaml" {
		return writeYAML(a.stdout, body)
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", body)
	return err
}

// writeYAML writes a JSON object as a YAML document, its keys in the same order.
func writeYAML(w io.Writer, object []byte) error {
	var v yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(object, &v, yaml.UseOrderedMap()); err != nil {
		return fmt.Errorf("encoding output: %w", err)
	}
	body, err := yaml.Marshal(quoteStrings(v))
	if err != nil {
		return fmt.Errorf("encoding output: %w", err)
	}
	_, err = fmt.Fprintf(w, "---\n%s", body)
	return err
}

// quoteStrings makes every string a quotedString.
func quoteStrings(v any) any {
	switch v := v.(type) {
	case yaml.MapSlice:
		for i := range v {
			v[i].Value = quoteStrings(v[i].Value)
		}
	case []any:
		for i := range v {
			v[i] = quoteStrings(v[i])
		}
	case string:
		return quotedString(v)
	}
	return v
}

// quotedString is a string that the encoder may not leave bare: a serial such as
// 12e5 would come back as a number.
type quotedString string

// MarshalYAML implements the encoder's interface; JSON's quoting is YAML's as well.
func (s quotedString) MarshalYAML() ([]byte, error) { return json.Marshal(string(s)) }

// failure is an error as it is printed.
type failure struct {
	Error     string `json:"error"`
	Code      string `json:"code,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	Next      string `json:"next,omitempty"`
	Help      string `json:"help,omitempty"` // where the code is explained
}

// stepError is an error of this program with a stable code and the next step.
type stepError struct {
	code, next string
	err        error
}

func (e *stepError) Error() string { return e.err.Error() }

func (e *stepError) Unwrap() error { return e.err }

// printError writes err to standard error with its stable code and the next step.
func (a *app) printError(err error) {
	f := describe(err)
	if body, err := json.Marshal(f); err == nil && a.output == "json" {
		fmt.Fprintf(a.stderr, "%s\n", body)
		return
	}
	lines := strings.Split(f.Error, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	fmt.Fprintf(a.stderr, "error: %s\n", strings.Join(lines, "\n"))
	for _, line := range [][2]string{{"code", f.Code}, {"request", f.RequestID}, {"next", f.Next}, {"help", f.Help}} {
		if line[1] != "" {
			fmt.Fprintf(a.stderr, "%s: %s\n", line[0], line[1])
		}
	}
}

// errorsURL is where each code is explained.
const errorsURL = "https://github.com/kedge-ca/kedge/blob/main/docs/errors.md#"

// describe finds code and next step in whatever kind of error err is.
func describe(err error) failure {
	f := failure{Error: err.Error()}
	var start *fips.StartError
	var own *ca.Error
	var step *stepError
	switch {
	case errors.As(err, &step):
		f.Code, f.Next = step.code, step.next
		return f
	case errors.As(err, &start):
		f.Code, f.Next = start.Code, "see docs/fips.md"
		return f
	case errors.As(err, &own):
		f.Code, f.Help = string(own.Reason), errorsURL+string(own.Reason)
		return f
	}
	if st, ok := status.FromError(err); ok {
		return describeStatus(st)
	}
	return f
}

// describeStatus reads the details that Kedge's servers send with every error; an
// error without them comes from the connection.
func describeStatus(st *status.Status) failure {
	f := failure{Error: st.Message()}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			f.Code, f.RequestID = d.GetReason(), d.GetMetadata()["request_id"]
			f.Help = firstOf(f.Help, errorsURL+d.GetReason()) // the local socket sends no link
		case *errdetails.RetryInfo:
			f.Next = "try again in " + d.GetRetryDelay().AsDuration().Round(time.Millisecond).String()
		case *errdetails.Help:
			if len(d.GetLinks()) > 0 {
				f.Help = d.GetLinks()[0].GetUrl()
			}
		}
	}
	if f.Code == "" {
		switch st.Code() {
		case codes.Unavailable:
			f.Code, f.Next = "unreachable", "check the address, and that the bundle is the server's"
		case codes.DeadlineExceeded:
			f.Code, f.Next = "timeout", "the server did not answer in time: try again, and look at its log"
		case codes.Unimplemented:
			f.Code, f.Next = "not_supported", "the server is older than this program, or is no Kedge server"
		}
	}
	f.Error = strings.TrimPrefix(f.Error, f.Code+": ")
	return f
}

// printable writes what a terminal might obey, such as an escape sequence in a
// name of a foreign certificate, as \x1b.
func printable(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.QuoteToGraphic(s)
	return quoted[1 : len(quoted)-1]
}

// relative is a time as people read it: absolute in UTC, and how far away.
func relative(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := t.Sub(now)
	if d >= 0 {
		return t.UTC().Format(time.RFC3339) + " (in " + short(d) + ")"
	}
	return t.UTC().Format(time.RFC3339) + " (" + short(-d) + " ago)"
}

// short is a duration in its two largest units.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 365*day:
		return fmt.Sprintf("%dy%dd", d/(365*day), d%(365*day)/day)
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
