package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/fips"
)

// quickReconnect tries a server that is down ten times a second.
var quickReconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1, MaxDelay: 100 * time.Millisecond},
	MinConnectTimeout: 2 * time.Second,
}

// pauseAfterFailure keeps clients of a server that is down from spinning.
const pauseAfterFailure = 20 * time.Millisecond

// issuing is what the clients of one run share.
type issuing struct {
	options options
	client  kedgev1.CertificateAuthorityClient

	mu       sync.Mutex
	file     *os.File // acknowledged serials, a line each
	outcomes map[codes.Code]int
	slowest  time.Duration // of what succeeded
}

// issueUntilStopped runs clients until ctx ends and prints how often each code came.
func issueUntilStopped(ctx context.Context, o options) error {
	conn, err := o.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	// Appended with one write a line: what is in the file was received, also when
	// this process is killed.
	file, err := os.OpenFile(o.acknowledged, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening --acknowledged: %w", err)
	}
	defer file.Close()
	run := &issuing{options: o, client: kedgev1.NewCertificateAuthorityClient(conn), file: file, outcomes: map[codes.Code]int{}}
	var clients sync.WaitGroup
	failures := make(chan error, o.clients)
	for range o.clients {
		clients.Go(func() { failures <- run.loop(ctx) })
	}
	clients.Wait()
	close(failures)
	for code, n := range run.outcomes {
		fmt.Printf("%s %d\n", code, n)
	}
	fmt.Printf("slowest %s\n", run.slowest.Round(time.Millisecond))
	for err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}

// loop is one client: a key, and certificates for it one after the other.
func (i *issuing) loop(ctx context.Context) error {
	key, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		return err
	}
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := i.once(ctx, csr); err != nil {
			return err
		}
	}
	return nil
}

// once asks for a certificate. A refusal is counted; only a wrong answer is an error.
func (i *issuing) once(ctx context.Context, csr []byte) error {
	token, err := os.ReadFile(i.options.tokenFile)
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	call, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	call = metadata.AppendToOutgoingContext(call, "authorization", "Bearer "+string(bytes.TrimSpace(token)))
	start := time.Now()
	answer, err := i.client.Issue(call, &kedgev1.IssueRequest{Csr: csr})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		_ = i.note(status.Code(err), "", 0) // writes nothing
		time.Sleep(pauseAfterFailure)
		return nil
	}
	leaf, err := x509.ParseCertificate(answer.GetCertificate())
	if err != nil {
		return fmt.Errorf("reading the certificate received: %w", err)
	}
	if got := fmt.Sprintf("%040x", leaf.SerialNumber); got != fmt.Sprintf("%040s", answer.GetSerial()) {
		return fmt.Errorf("the answer says serial %s, its certificate has %s", answer.GetSerial(), got)
	}
	return i.note(codes.OK, answer.GetSerial(), time.Since(start))
}

// note counts an outcome and writes down a serial.
func (i *issuing) note(code codes.Code, serial string, took time.Duration) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.outcomes[code]++
	i.slowest = max(i.slowest, took)
	if serial == "" {
		return nil
	}
	_, err := i.file.WriteString(serial + "\n")
	return err
}
