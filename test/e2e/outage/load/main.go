package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kedge-ca/kedge/api/authn/devissuer"
)

// options are the flags.
type options struct {
	server string // host:port
	bundle string // file of trust anchors
	dir    string // jwks.json, stats and hold are here
	clock  string // file with the hours by which the clock is ahead
	rate   int    // certificates a second
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "", "address of the TLS port")
	flag.StringVar(&o.bundle, "bundle", "", "file of trust anchors")
	flag.StringVar(&o.dir, "dir", "", "directory of jwks.json and of what is counted")
	flag.StringVar(&o.clock, "clock", "", "file with the hours by which the clock is ahead")
	flag.IntVar(&o.rate, "rate", 40, "certificates a second")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run writes the issuer's keys, waits for the file bundle, which the suite writes once
// the server serves, and asks until ctx ends.
func run(ctx context.Context, o options) error {
	issuer, err := devissuer.New()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.dir, "jwks.json"), issuer.JWKS(), 0o600); err != nil {
		return err
	}
	if err := o.await(ctx); err != nil {
		return err
	}
	w, err := newWorkloads(o, issuer)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	ticker := time.NewTicker(time.Second / time.Duration(o.rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			w.running.Wait()
			return w.report(false)
		case <-ticker.C:
		}
		if o.held() {
			w.running.Wait()
			if err := w.report(true); err != nil {
				return err
			}
			continue
		}
		w.begin(ctx)
		if w.begun%o.rate == 0 {
			w.beginRenewal(ctx)
		}
		if err := w.report(false); err != nil {
			return err
		}
	}
}

// await waits for the bundle.
func (o options) await(ctx context.Context) error {
	for {
		_, err := os.Stat(o.bundle)
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// held tells whether the suite wants no request on its way: the clock is being set.
func (o options) held() bool {
	_, err := os.Stat(filepath.Join(o.dir, "hold"))
	return err == nil
}

// now is the server's clock.
func (o options) now() time.Time {
	raw, err := os.ReadFile(o.clock)
	if err != nil {
		panic(err)
	}
	hours, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		panic(err)
	}
	return time.Now().Add(time.Duration(hours) * time.Hour)
}
