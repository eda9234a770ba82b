package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

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
		if body, err = yaml.JSONToYAML(body); err != nil {
			return fmt.Errorf("encoding output: %w", err)
		}
		_, err = a.stdout.Write(body)
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", body)
	return err
}

// failure is an error as it is printed.
type failure struct {
	Error     string `json:"error"`
	Code      string `json:"code,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	Next      string `json:"next,omitempty"`
}

// printError writes err to standard error with its stable code and the next step.
func (a *app) printError(err error) {
	f := describe(err)
	if a.output == "json" {
		if body, err := json.Marshal(f); err == nil {
			fmt.Fprintf(a.stderr, "%s\n", body)
			return
		}
	}
	fmt.Fprintf(a.stderr, "error: %s\n", f.Error)
	if f.Code != "" {
		fmt.Fprintf(a.stderr, "code: %s\n", f.Code)
	}
	if f.RequestID != "" {
		fmt.Fprintf(a.stderr, "request: %s\n", f.RequestID)
	}
	if f.Next != "" {
		fmt.Fprintf(a.stderr, "next: %s\n", f.Next)
	}
}

// describe finds code and next step in whatever kind of error err is.
func describe(err error) failure {
	f := failure{Error: err.Error()}
	var start *fips.StartError
	var own *ca.Error
	switch {
	case errors.As(err, &start):
		f.Code, f.Next = start.Code, "see docs/fips.md"
		return f
	case errors.As(err, &own):
		f.Code = string(own.Reason)
		return f
	}
	st, ok := status.FromError(err)
	if !ok {
		return f
	}
	f.Error = st.Message()
	if st.Code() == codes.Unavailable && len(st.Details()) == 0 {
		f.Code, f.Next = "unreachable", "check the address, and that the bundle is the server's"
	}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			f.Code, f.RequestID = d.GetReason(), d.GetMetadata()["request_id"]
		case *errdetails.RetryInfo:
			f.Next = "retry after " + d.GetRetryDelay().AsDuration().Round(time.Millisecond).String()
		case *errdetails.Help:
			if f.Next == "" && len(d.GetLinks()) > 0 {
				f.Next = "see " + d.GetLinks()[0].GetUrl()
			}
		}
	}
	return f
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

// replaceFile puts content in the place of a file at once: readers see the old or
// the new content, whole.
func replaceFile(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
