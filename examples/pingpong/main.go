// Command pingpong is a toy workload: it gets a certificate from a Kedge server, keeps
// it fresh, and all the time calls its peers over mutual TLS with a new handshake for
// each call, as well as answering their calls. It counts every handshake that fails.
// Two of them in two zones show what a rotation of trust anchors does to live traffic:
// nothing. docs/rotation.md uses it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/kedge-ca/kedge/api/client"
	_ "github.com/kedge-ca/kedge/fips/enforced" // no build without a FIPS module
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pingpong:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	server, bundle, tokenFile, listen string
	peers                             []string
	ttl, every, report                time.Duration
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("pingpong", flag.ContinueOnError)
	f.StringVar(&o.server, "server", "127.0.0.1:8443", "where certificates come from")
	f.StringVar(&o.bundle, "bundle", "bundle.pem", "PEM trust anchors to begin with")
	f.StringVar(&o.tokenFile, "token-file", "", "token of the workload")
	f.StringVar(&o.listen, "listen", "127.0.0.1:9001", "where the peer calls")
	peers := f.String("peer", "127.0.0.1:9002", "where to call; several with commas")
	f.DurationVar(&o.ttl, "ttl", 5*time.Minute, "lifetime of certificates")
	f.DurationVar(&o.every, "every", 20*time.Millisecond, "between two calls")
	f.DurationVar(&o.report, "report", 10*time.Second, "between two lines of the log")
	err := f.Parse(args)
	o.peers = strings.Split(*peers, ",")
	return o, err
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	anchors, err := os.ReadFile(o.bundle)
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{Server: o.server, Bundle: anchors, TokenFile: o.tokenFile, TTL: o.ttl})
	if err != nil {
		return err
	}
	first, err := c.Issue(ctx)
	if err != nil {
		return fmt.Errorf("getting a certificate: %w", err)
	}
	w := &workload{options: o}
	w.hold(first)
	listener, err := w.listener()
	if err != nil {
		return err
	}
	go w.answer(ctx, listener)
	for _, peer := range o.peers {
		go w.call(ctx, peer)
	}
	keeper := client.Keeper{
		Client: c, Watcher: c, Now: time.Now,
		Store: func(fresh *client.Certificate) error {
			w.hold(fresh)
			fmt.Fprintf(out, "%s renewed under %s\n", clock(), w.issuer())
			return nil
		},
		Failed: func(err error, next time.Time) {
			fmt.Fprintf(out, "%s renewal failed, again at %s: %v\n", clock(), next.UTC().Format(time.TimeOnly), err)
		},
		Changed: func(n client.News) {
			w.trust(n.Sequence, n.Bundle)
			fmt.Fprintf(out, "%s bundle %d with %d anchors\n", clock(), n.Sequence, len(n.Bundle))
		},
	}
	go w.reportTo(ctx, out)
	err = keeper.Run(ctx, first.TLS(), first.RenewAt)
	fmt.Fprintf(out, "%s end: %s\n", clock(), w.count.line())
	if failed := w.count.failed.Load(); failed > 0 {
		return errors.Join(err, fmt.Errorf("%d calls failed", failed))
	}
	return err
}

func clock() string { return time.Now().UTC().Format(time.TimeOnly) }

// pair is what a workload holds at a moment: its certificate and its anchors.
type pair struct {
	certificate *tls.Certificate
	sequence    uint64
	pool        *x509.CertPool
	issuer      string
}
