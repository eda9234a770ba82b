package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/fips"
)

// callTimeout bounds one call of a command to a server.
const callTimeout = 30 * time.Second

// clientFlags are the flags of ca issue and ca renew.
type clientFlags struct {
	config  client.Config
	bundle  string
	keyType string
}

func (f *clientFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config.Server, "server", "127.0.0.1:8443", "address of the server")
	cmd.Flags().StringVar(&f.config.ServerName, "server-name", "", "name in the server's certificate (default: host of --server)")
	cmd.Flags().StringVar(&f.bundle, "bundle", "", "PEM file with the server's trust anchors (required)")
	cmd.Flags().StringVar(&f.keyType, "key-type", "ecdsa-p256", "key to make: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096")
	cmd.Flags().DurationVar(&f.config.TTL, "ttl", 0, "wanted lifetime, such as 1h (default: the server's)")
	cmd.Flags().StringVar(&f.config.Profile, "profile", "", "wanted profile (default: the server's choice)")
}

// client proves the module and makes the client.
func (f *clientFlags) client(a *app) (*client.Client, error) {
	if _, err := a.startModule(defaultConfig()); err != nil {
		return nil, err
	}
	if f.bundle == "" {
		return nil, fmt.Errorf("give --bundle, the file with the server's trust anchors")
	}
	var err error
	if f.config.Bundle, err = os.ReadFile(f.bundle); err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	f.config.KeyType = fips.KeyType(f.keyType)
	return client.New(f.config)
}

func newIssueCommand(a *app) *cobra.Command {
	var f clientFlags
	var out, cert, key string
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Make a key here and get a certificate for it",
		Long: `Makes a key, asks the server for a certificate and writes OUT/tls.key, OUT/tls.crt
(the leaf and its intermediates) and OUT/bundle.pem. The key never leaves this
machine. A token proves who asks, or with --cert and --key a certificate of this
server that still lives. When the request fails, files that are there stay as they
are.`,
		Example: `  ca issue --server 127.0.0.1:8443 --bundle kedge-dev/bundle.pem \
    --token-file kedge-dev/token --out my-workload
  ca issue --server 127.0.0.1:8443 --bundle bundle.pem --cert old/tls.crt --key old/tls.key --ttl 1h --out new`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client(a)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			var certificate *client.Certificate
			if cert == "" {
				certificate, err = c.Issue(ctx)
			} else {
				var current tls.Certificate
				if current, err = a.readPair(cert, key); err != nil {
					return err
				}
				certificate, err = c.Renew(ctx, current)
			}
			if err != nil {
				return err
			}
			if err := writeCertificate(out, certificate); err != nil {
				return err
			}
			return a.printIssued(certificate, out)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.config.TokenFile, "token-file", "", "file with the token that proves who asks")
	cmd.Flags().StringVar(&cert, "cert", "", "file with the certificate that proves who asks")
	cmd.Flags().StringVar(&key, "key", "", "file with the key of --cert")
	cmd.Flags().StringVar(&out, "out", ".", "directory for the files")
	cmd.MarkFlagsRequiredTogether("cert", "key")
	cmd.MarkFlagsMutuallyExclusive("token-file", "cert")
	return cmd
}

type issuedInfo struct {
	Identity  string    `json:"identity"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	RenewAt   time.Time `json:"renewAt"`
	Dir       string    `json:"dir"`
}

func (a *app) printIssued(c *client.Certificate, dir string) error {
	leaf := c.Chain[0]
	v := issuedInfo{c.Identity, c.Serial, leaf.NotBefore.UTC(), leaf.NotAfter.UTC(), c.RenewAt.UTC(), dir}
	return a.print("Issued", v, func(w *tabwriter.Writer) {
		now := a.now()
		fmt.Fprintf(w, "identity\t%s\nserial\t%s\nbegins\t%s\nends\t%s\nrenew at\t%s\nfiles\t%s\n", v.Identity, v.Serial,
			relative(v.NotBefore, now), relative(v.NotAfter, now), relative(v.RenewAt, now), filepath.Join(dir, "{tls.key,tls.crt,bundle.pem}"))
	})
}
