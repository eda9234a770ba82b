package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/api/authn/devissuer"
	"github.com/kedge-ca/kedge/ca"
)

// What ca dev is: fixed, because scripts and documents rely on it.
const (
	devTrustDomain = "cluster.local"
	devAudience    = "istio-ca"
	devCluster     = "Kubernetes" // what Istio's agent sends by default
	devTokenTTL    = time.Hour
)

func newDevCommand(a *app) *cobra.Command {
	var dir, listen string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Try Kedge: a working CA in one directory, for one machine",
		Long: `Runs a working certificate authority under DIR for trust domain cluster.local,
with a root, a standby and an intermediate, and an embedded issuer of
service-account tokens that exists in this mode only.

  DIR/bundle.pem   the trust anchors
  DIR/token        a token of spiffe://cluster.local/ns/default/sa/default,
                   audience istio-ca, made again before it expires
  DIR/admin.sock   the operator's socket

Never for production: whoever reads DIR is any workload.`,
		Example: `  ca dev --dir ./kedge-dev --listen 127.0.0.1:8443`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.dev(cmd.Context(), dir, listen)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "kedge-dev", "directory for everything")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8443", "address of the TLS port; loopback only")
	return cmd
}

// dev makes what is not there yet and serves.
func (a *app) dev(ctx context.Context, dir, listen string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen %s: ca dev serves on loopback only; ca init and ca serve make a real server", listen)
	}
	if _, err := a.startModule(defaultConfigOfDev(abs, listen)); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "WARNING: development mode. An embedded issuer gives tokens to whoever reads %s.\n", dir)
	if err := a.makeDev(ctx, abs, listen); err != nil {
		return err
	}
	issuer, err := devissuer.New()
	if err != nil {
		return fmt.Errorf("making the embedded issuer: %w", err)
	}
	cfg := defaultConfigOfDev(abs, listen)
	cfg.devKeys = issuer.JWKS()
	cfg.Zone.Name = primaryZone
	// The standby is here as well, so that a rotation can be tried.
	cfg.NextRoot = rootConfig{Type: rootLocal, Dir: filepath.Join(cfg.DataDir, "standby")}
	cfg.NextRoot.Passphrase.File = filepath.Join(abs, "secrets", "standby-passphrase")
	if problems := cfg.problems(); len(problems) > 0 {
		return fmt.Errorf("%s: %s", problems[0].path, problems[0].text)
	}
	return a.serve(ctx, cfg, serveOptions{ready: func(ctx context.Context, s *server) error {
		return a.devReady(ctx, s, issuer, devPaths{shown: dir, abs: abs})
	}})
}

// defaultConfigOfDev is the configuration of ca dev.
func defaultConfigOfDev(dir, listen string) config {
	c := defaultConfig()
	c.TrustDomain, c.DataDir, c.Listen = devTrustDomain, filepath.Join(dir, "data"), listen
	c.ServerNames = []string{"localhost", "127.0.0.1", "::1"}
	c.AdminSocket = filepath.Join(dir, "admin.sock")
	c.Ops.Listen = "127.0.0.1:0"
	c.Root.Dir = filepath.Join(c.DataDir, "root")
	c.Root.Passphrase.File = filepath.Join(dir, "secrets", "root-passphrase")
	c.Keys.Passphrase.File = filepath.Join(dir, "secrets", "keys-passphrase")
	c.Authn.JoinTokens = true
	c.Authn.Kubernetes = []kubernetesConfig{{
		Cluster: devCluster, Default: true, Issuer: devissuer.URL, Audiences: []string{devAudience},
	}}
	c.Log.Level = "warn"
	return c
}

// devPaths is the directory as the user gave it and as it is.
type devPaths struct{ shown, abs string }

// devReady writes bundle and token, prints the ready line and keeps both fresh.
func (a *app) devReady(ctx context.Context, s *server, issuer *devissuer.Issuer, dir devPaths) error {
	if err := a.writeDev(s.authority, issuer, dir.abs); err != nil {
		return err
	}
	go func() {
		ticker := time.NewTicker(devTokenTTL / 4)
		defer ticker.Stop()
		for {
			changed := s.authority.BundleChanged()
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			case <-changed:
			}
			if err := a.writeDev(s.authority, issuer, dir.abs); err != nil {
				s.log.Error("writing the token and the bundle", "error", err)
			}
		}
	}()
	addr := s.tls.Addr().String()
	fmt.Fprintf(a.stdout, "trust anchors %s/bundle.pem (active %.16s), metrics http://%s/metrics\n",
		dir.shown, ca.AnchorIDOf(s.authority.Bundle().Active()), s.opsListener.Addr())
	fmt.Fprintf(a.stdout, "get a certificate: %s issue --server %s --bundle %s/bundle.pem --token-file %s/token --out my-workload\n",
		programName(), addr, dir.shown, dir.shown)
	_, err := fmt.Fprintf(a.stdout, "ready: serving %s on %s\n", devTrustDomain, addr)
	return err
}

// writeDev replaces DIR/bundle.pem and DIR/token.
func (a *app) writeDev(authority *ca.Authority, issuer *devissuer.Issuer, dir string) error {
	token, err := issuer.Token(devissuer.ServiceAccount{
		Namespace: "default", Name: "default", Audience: devAudience, TTL: devTokenTTL,
	}, a.now())
	if err != nil {
		return fmt.Errorf("making the token: %w", err)
	}
	bundle := authority.Bundle()
	if bundle == nil {
		return fmt.Errorf("there is no bundle")
	}
	return errors.Join(
		replaceFile(filepath.Join(dir, "bundle.pem"), bundle.PEM(), 0o644),
		replaceFile(filepath.Join(dir, "token"), []byte(token), 0o600),
	)
}

// programName is how the user called this program.
func programName() string { return os.Args[0] }
