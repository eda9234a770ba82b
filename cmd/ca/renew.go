package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/api/client"
)

func newRenewCommand(a *app) *cobra.Command {
	var f clientFlags
	var dir string
	var watch bool
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Renew a certificate by mutual TLS with itself",
		Long: `Renews the certificate in DIR, which ca issue wrote, with a new key. The current
certificate proves who asks. With --watch it goes on and renews whenever the
server's suggested time comes; a certificate that works is kept while renewals
fail.`,
		Example: "  ca renew --server 127.0.0.1:8443 --dir my-workload\n  ca renew --dir my-workload --watch",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.bundle == "" {
				f.bundle = filepath.Join(dir, "bundle.pem")
			}
			c, err := f.client(a)
			if err != nil {
				return err
			}
			current, err := loadPair(dir)
			if err != nil {
				return err
			}
			if watch {
				return a.keep(cmd.Context(), c, current, dir)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			fresh, err := c.Renew(ctx, current)
			if err != nil {
				return err
			}
			if err := writeCertificate(dir, fresh); err != nil {
				return err
			}
			return a.printIssued(fresh, dir)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&dir, "dir", ".", "directory with tls.key, tls.crt and bundle.pem")
	cmd.Flags().BoolVar(&watch, "watch", false, "keep renewing until interrupted")
	return cmd
}

// keep renews until ctx ends. The first renewal is at once when half of the
// certificate's life is over, since nobody noted when the server suggested it.
func (a *app) keep(ctx context.Context, c *client.Client, current tls.Certificate, dir string) error {
	half := current.Leaf.NotBefore.Add(current.Leaf.NotAfter.Sub(current.Leaf.NotBefore) / 2)
	fmt.Fprintf(a.stdout, "keeping %s fresh, next renewal %s\n", dir, relative(half, a.now()))
	keeper := client.Keeper{
		Client: c, Now: a.now,
		Store: func(fresh *client.Certificate) error {
			if err := writeCertificate(dir, fresh); err != nil {
				return err
			}
			return a.printIssued(fresh, dir)
		},
		Failed: func(err error, next time.Time) {
			a.printError(err)
			fmt.Fprintf(a.stderr, "the current certificate stays in use; next try %s\n", relative(next, a.now()))
		},
	}
	return keeper.Run(ctx, current, half)
}

// loadPair reads tls.crt and tls.key.
func loadPair(dir string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the certificate in %s: %w; get one with ca issue", dir, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return tls.Certificate{}, fmt.Errorf("reading the certificate in %s: %w", dir, err)
		}
	}
	return pair, nil
}
