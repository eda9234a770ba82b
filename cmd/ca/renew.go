package main

import (
	"context"
	"crypto/tls"
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
fail. bundle.pem follows a rotation: with --watch at once, else at each renewal.`,
		Example: "  ca renew --server 127.0.0.1:8443 --dir my-workload\n  ca renew --dir my-workload --watch",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.bundle == "" {
				f.bundle = filepath.Join(dir, bundleFile)
			}
			if _, err := a.startModule(defaultConfig()); err != nil {
				return err // before the key is read
			}
			current, err := a.loadPair(dir) // before the bundle: it may finish a swap
			if err != nil {
				return err
			}
			r := &renewal{app: a, flags: &f}
			if watch {
				if _, err := f.client(a); err != nil {
					return err // what is wrong now will not mend itself
				}
				return a.keep(cmd.Context(), r, current, dir)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			fresh, err := r.Renew(ctx, current)
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
	cmd.Flags().Lookup("bundle").Usage = "PEM file with the server's trust anchors (default DIR/" + bundleFile + ")"
	cmd.Flags().StringVar(&dir, "dir", ".", "directory with tls.key, tls.crt and bundle.pem")
	cmd.Flags().BoolVar(&watch, "watch", false, "keep renewing until interrupted")
	return cmd
}

// renewal makes its client anew for each call: the bundle in the file may have
// changed, not least by the renewal before.
type renewal struct {
	app   *app
	flags *clientFlags
}

// renewingServer renews, and tells of changes of the trust bundle.
type renewingServer interface {
	client.Renewer
	client.Watcher
}

var _ renewingServer = (*renewal)(nil)

// Watch implements client.Watcher.
func (r *renewal) Watch(ctx context.Context, each func(client.News)) error {
	c, err := r.flags.client(r.app)
	if err != nil {
		return err
	}
	return c.Watch(ctx, each)
}

// Renew implements client.Renewer.
func (r *renewal) Renew(ctx context.Context, current tls.Certificate) (*client.Certificate, error) {
	c, err := r.flags.client(r.app)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.Renew(ctx, current)
}

// keep renews until ctx ends. The first renewal is at once when half of the
// certificate's life is over, since nobody noted when the server suggested it.
func (a *app) keep(ctx context.Context, r renewingServer, current tls.Certificate, dir string) error {
	half := current.Leaf.NotBefore.Add(current.Leaf.NotAfter.Sub(current.Leaf.NotBefore) / 2)
	fmt.Fprintf(a.stderr, "keeping %s fresh, next renewal %s\n", dir, relative(half, a.now()))
	var newest client.News // a replica that lags behind brings nothing back
	keeper := client.Keeper{
		Client: r, Watcher: r, Now: a.now,
		Changed: func(n client.News) {
			if n.Sequence <= newest.Sequence {
				return
			}
			if err := writeBundle(dir, client.EncodeBundle(n.Bundle)); err != nil {
				a.printError(err)
				return
			}
			newest = n
		},
		// A swap of files is not interrupted: ctx ends the waiting and the asking only.
		Store: func(fresh *client.Certificate) error {
			if fresh.Sequence < newest.Sequence {
				fresh.Bundle = newest.Bundle
			}
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
