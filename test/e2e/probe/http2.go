package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/kedge-ca/kedge/fips"
)

// h2conn is one HTTP/2 connection written frame by frame.
type h2conn struct {
	*http2.Framer
	tls *tls.Conn
}

// open dials, shakes hands and exchanges settings (RFC 9113 §3.4).
func (o options) open(ctx context.Context) (*h2conn, error) {
	roots, err := o.roots()
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(o.server)
	if err != nil {
		return nil, err
	}
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: roots, ServerName: host, NextProtos: []string{"h2"}})
	if err != nil {
		return nil, err
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.server)
	if err != nil {
		return nil, err
	}
	c := &h2conn{tls: tls.Client(raw, config)}
	if err := c.tls.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	c.Framer = http2.NewFramer(c.tls, c.tls)
	c.AllowIllegalWrites = true
	if _, err := io.WriteString(c.tls, http2.ClientPreface); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, errors.Join(c.WriteSettings(), c.WriteSettingsAck())
}

// headers encodes a request; a pseudo-header with value absent is left out.
func headers(path string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, field := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: "localhost"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	} {
		_ = e.WriteField(field) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

// request sends one unary call with an empty message and returns how it ended:
// "grpc-status N reason", "http N", "reset CODE" or "connection closed".
func (c *h2conn) request(stream uint32, path string) (string, error) {
	err := errors.Join(
		c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: headers(path), EndHeaders: true}),
		c.WriteData(stream, true, make([]byte, 5))) // uncompressed, length 0
	if err != nil {
		return "", err
	}
	if err := c.tls.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	return c.outcome(stream)
}

// outcome reads until the stream or the connection ends.
func (c *h2conn) outcome(stream uint32) (string, error) {
	decoder := hpack.NewDecoder(4096, nil)
	for {
		frame, err := c.ReadFrame()
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return "connection closed", nil
		}
		if err != nil {
			return "", err
		}
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			fields, err := decoder.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				return "", err
			}
			if end := ending(fields); end != "" && f.StreamID == stream {
				return end, nil
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return "reset " + f.ErrCode.String(), nil
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return "connection closed " + f.ErrCode.String(), nil
			}
		}
	}
}

// ending is what a header block says of the end of a call, "" if nothing.
func ending(fields []hpack.HeaderField) string {
	all := map[string]string{}
	for _, f := range fields {
		all[f.Name] = f.Value
	}
	if code, ok := all["grpc-status"]; ok {
		return fmt.Sprintf("grpc-status %s %s", code, all["grpc-message"])
	}
	if code, ok := all[":status"]; ok && code != "200" {
		return "http " + code
	}
	return ""
}

// The method that needs no credentials: whoever reaches it gets an answer.
const (
	service    = "kedge.v1.CertificateAuthority"
	openMethod = "/" + service + "/GetBundle"
)

// badPaths must reach no method. A server that cleans a path before it routes,
// after it has authorised the raw one, is CVE-2026-33186.
var badPaths = []string{
	"", "/", "*", service + "/GetBundle", "//" + service + "/GetBundle", openMethod + "/", "/" + service + "//GetBundle",
	"/./" + service + "/GetBundle", "/x/../" + service + "/GetBundle", "/" + service + "%2fGetBundle", "/%6bedge.v1.CertificateAuthority/GetBundle",
	"/KEDGE.V1.CERTIFICATEAUTHORITY/GETBUNDLE", "/" + service + "/getBundle", openMethod + "?x=1", openMethod + "#x", openMethod + " ",
	"https://localhost" + openMethod, "/" + service + "/Nothing", "/nothing.Nothing/GetBundle", "/kedge.v1.Admin/Status", "/kedge.v1.Admin/Repair",
	"kedge.v1.Admin/Status", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/metrics", "/healthz",
}

// tryPaths sends each bad path and, before and after, the good one.
func tryPaths(ctx context.Context, o options) error {
	wrong := 0
	for _, path := range append(append([]string{openMethod}, badPaths...), openMethod) {
		c, err := o.open(ctx)
		if err != nil {
			return err
		}
		end, err := c.request(1, path)
		if err := errors.Join(err, c.tls.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("path %q: %w", path, err)
		}
		isServed := strings.HasPrefix(end, "grpc-status 0")
		verdict := "as it should"
		if isServed != (path == openMethod) {
			verdict = "WRONG"
			wrong++
		}
		fmt.Printf("%-12s  %-60q  %s\n", verdict, path, end)
	}
	if wrong > 0 {
		return fmt.Errorf("%d paths were not treated as they should be", wrong)
	}
	return nil
}

// floodFrames is how many frames a flood sends, unless the server hangs up.
const floodFrames = 200_000

// flood sends frames of one kind as fast as the server takes them. That the
// server ends the connection is as good as that it bears them.
func flood(ctx context.Context, o options) error {
	c, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer c.tls.Close()
	go func() { _, _ = io.Copy(io.Discard, c.tls) }()
	block := headers(openMethod)
	send := map[string]func(n uint32) error{
		"reset": func(n uint32) error { // CVE-2023-44487
			return errors.Join(
				c.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*n + 1, BlockFragment: block, EndHeaders: true}),
				c.WriteRSTStream(2*n+1, http2.ErrCodeCancel))
		},
		"continuation": func(n uint32) error { // CVE-2024-27316
			if n == 0 {
				return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
			}
			return c.WriteContinuation(1, false, []byte("\x00\x01x\x01y"))
		},
		"ping":     func(uint32) error { return c.WritePing(false, [8]byte{}) },
		"settings": func(uint32) error { return c.WriteSettings() },
		"headers": func(n uint32) error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*n + 1, BlockFragment: block, EndHeaders: true})
		},
	}[o.kind]
	if send == nil {
		return fmt.Errorf("--kind must be reset, continuation, ping, settings or headers")
	}
	for n := range uint32(floodFrames) {
		if err := c.tls.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		switch err := send(n); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			fmt.Printf("%s: the server stopped reading after %d frames\n", o.kind, n)
			return nil
		case err != nil:
			fmt.Printf("%s: the server ended the connection after %d frames\n", o.kind, n)
			return nil
		}
	}
	fmt.Printf("%s: the server took %d frames\n", o.kind, floodFrames)
	return nil
}
