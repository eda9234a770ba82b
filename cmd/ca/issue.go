package main

import (
	"context"
	"errors"
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
	var out string
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Make a key here and get a certificate for it",
		Long: `Makes a key, asks the server for a certificate by token and writes OUT/tls.key,
OUT/tls.crt (the leaf and its intermediates) and OUT/bundle.pem. The key never
leaves this machine. When the request fails, files that are there stay as they are.`,
		Example: `  ca issue --server 127.0.0.1:8443 --bundle kedge-dev/bundle.pem \
    --token-file kedge-dev/token --out my-workload`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client(a)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			certificate, err := c.Issue(ctx)
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
	cmd.Flags().StringVar(&out, "out", ".", "directory for the files")
	return cmd
}

// writeCertificate replaces the three files. Each is replaced at once; the key
// goes first, so that a reader who finds a certificate finds its key as well. A
// crash in between leaves a new key beside an old certificate: run the command
// again.
func writeCertificate(dir string, c *client.Certificate) error {
	key, err := c.KeyPEM()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the certificate: %w", err)
	}
	err = errors.Join(
		replaceFile(filepath.Join(dir, "tls.key"), key, 0o600),
		replaceFile(filepath.Join(dir, "tls.crt"), c.ChainPEM(), 0o644),
		replaceFile(filepath.Join(dir, "bundle.pem"), c.BundlePEM(), 0o644),
	)
	if err != nil {
		return fmt.Errorf("writing the certificate: %w", err)
	}
	return nil
}

type issuedInfo struct {
	Identity string    `json:"identity"`
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"notAfter"`
	RenewAt  time.Time `json:"renewAt"`
	Dir      string    `json:"dir"`
}

func (a *app) printIssued(c *client.Certificate, dir string) error {
	v := issuedInfo{c.Identity, c.Serial, c.Chain[0].NotAfter.UTC(), c.RenewAt.UTC(), dir}
	return a.print("Issued", v, func(w *tabwriter.Writer) {
		now := a.now()
		fmt.Fprintf(w, "identity\t%s\nserial\t%s\nends\t%s\nrenew at\t%s\nfiles\t%s\n", v.Identity, v.Serial,
			relative(v.NotAfter, now), relative(v.RenewAt, now), filepath.Join(dir, "{tls.key,tls.crt,bundle.pem}"))
	})
}
