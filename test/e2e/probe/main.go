package main

import (
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/kedge-ca/kedge/fips"
)

// options are the flags; each command uses some.
type options struct {
	server       string // host:port
	bundle       string // file of trust anchors
	tokenFile    string
	acknowledged string // file that gets a line for each certificate received
	clients      int
	kind         string
	dir          string
	name         string // the identity that is asked for
	issuer       string // the name in the issuer's certificate
}

// commands are what the first argument can be.
var commands = map[string]func(context.Context, options) error{
	"issue":   issueUntilStopped, // certificates without pause until SIGTERM, each serial written to --acknowledged
	"idle":    holdIdle,          // --clients TLS connections with nothing on them until SIGTERM
	"slow":    holdSlow,          // --clients connections of --kind that send or read a byte a second, until SIGTERM
	"paths":   tryPaths,          // requests whose :path no router may accept
	"flood":   flood,             // one HTTP/2 connection that floods with frames of --kind
	"linkerd": certifyOnce,       // one certificate, as Linkerd's proxy asks for it and by its rules
	"tokens":  makeTokens,        // --dir/jwks.json and tokens, good and bad, that it verifies
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || commands[args[0]] == nil {
		return fmt.Errorf("the first argument must be one of issue, idle, slow, paths, flood, linkerd, tokens")
	}
	var o options
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	f.StringVar(&o.server, "server", "", "address of the TLS port")
	f.StringVar(&o.bundle, "bundle", "", "file of trust anchors")
	f.StringVar(&o.tokenFile, "token-file", "", "file with the token, read for each request")
	f.StringVar(&o.acknowledged, "acknowledged", "", "file for the serials received")
	f.IntVar(&o.clients, "clients", 8, "how many at once")
	f.StringVar(&o.kind, "kind", "", "which variant")
	f.StringVar(&o.dir, "dir", "", "directory for what is made")
	f.StringVar(&o.name, "name", "", "identity to ask for")
	f.StringVar(&o.issuer, "issuer", "", "name in the issuer's certificate")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	return commands[args[0]](ctx, o)
}

// roots reads the trust anchors.
func (o options) roots() (*x509.CertPool, error) {
	raw, err := os.ReadFile(o.bundle)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no certificate", o.bundle)
	}
	return pool, nil
}

// dial opens a gRPC connection that comes back quickly after a kill.
func (o options) dial() (*grpc.ClientConn, error) {
	roots, err := o.roots()
	if err != nil {
		return nil, err
	}
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: roots, NextProtos: []string{"h2"}})
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(o.server, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithConnectParams(quickReconnect))
}
