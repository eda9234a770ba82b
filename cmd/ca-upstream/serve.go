package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api/peercred"
	"github.com/kedge-ca/kedge/api/upstream"
	"github.com/kedge-ca/kedge/ca"
)

// drainTime is what calls get to end when the program is stopped.
const drainTime = 10 * time.Second

func newServeCommand(a *app) *cobra.Command {
	var path, socket string
	var allow []uint
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the root or the keys on a Unix socket",
		Long: `Serves what the configuration names on a Unix socket of mode 0600 in a directory of
mode 0700, to the program's own user and those of --allow-uid. With a group, its
members reach the socket too; who of them may call is still decided by user. The log
is JSON on standard error.`,
		Example: "  ca-upstream serve --config /etc/kedge/upstream.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path)
			if err != nil {
				return err
			}
			if socket != "" {
				c.Socket = socket
			}
			for _, uid := range allow {
				c.AllowUID = append(c.AllowUID, uint32(uid))
			}
			if err := c.check(); err != nil {
				return err
			}
			return a.serve(cmd.Context(), c)
		},
	}
	cmd.Flags().StringVar(&path, "config", "/etc/kedge/upstream.yaml", "configuration file")
	cmd.Flags().StringVar(&socket, "socket", "", "path of the socket, instead of the configuration's")
	cmd.Flags().UintSliceVar(&allow, "allow-uid", nil, "number of a user that may call, beside the configuration's")
	return cmd
}

func (a *app) serve(ctx context.Context, c config) error {
	log := slog.New(slog.NewJSONHandler(a.stderr, nil))
	if err := harden(); err != nil {
		return err
	}
	module, policy, err := a.startModule(c.Profile)
	if err != nil {
		return err
	}
	for _, w := range module.Warnings(a.now()) {
		log.Warn("cryptographic module", "code", w.Code, "detail", w.Detail)
	}
	domain, err := ca.ParseTrustDomain(c.TrustDomain)
	if err != nil {
		return err
	}
	b, err := a.openBackend(ctx, c, policy)
	if err != nil {
		return err
	}
	server, err := upstream.NewServer(upstream.Config{
		TrustDomain: domain, Root: b.root, Keys: b.keys, RootKeys: b.rootKeys, Policy: policy,
		Users: append([]uint32{uint32(os.Getuid())}, c.AllowUID...), Now: a.now, Done: logCall(log),
	})
	if err != nil {
		return errors.Join(err, b.close())
	}
	listener, err := listen(c)
	if err != nil {
		return errors.Join(err, b.close())
	}
	log.Info("serving", "socket", c.Socket, "root", b.root != nil, "keys", b.keys != nil, "outside_module", len(linked()))
	return errors.Join(serveUntil(ctx, server, listener), b.close())
}

// serveUntil serves until ctx ends and then lets calls end.
func serveUntil(ctx context.Context, server *grpc.Server, listener net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	hard := time.AfterFunc(drainTime, server.Stop)
	defer hard.Stop()
	server.GracefulStop()
	return <-ended
}

// logCall writes every call: there are few, and each matters. A signature with an
// intermediate's key is one of many and only logged when it fails.
func logCall(log *slog.Logger) func(upstream.Call) {
	return func(c upstream.Call) {
		args := []any{"method", c.Method, "uid", c.User, "took", c.Took.String()}
		switch {
		case c.Panic != nil:
			log.Error("call panicked", append(args, "panic", string(c.Panic))...)
		case c.Err != nil:
			log.Warn("call failed", append(args, "code", status.Code(c.Err).String(), "error", status.Convert(c.Err).Message())...)
		case filepath.Base(c.Method) != "SignDigest":
			log.Info("call", args...)
		}
	}
}

// listen makes the socket in a directory that only its owner, and the group if one
// was given, can enter.
func listen(c config) (net.Listener, error) {
	dirMode, socketMode := os.FileMode(0o700), os.FileMode(0o600)
	if c.Group != nil {
		dirMode, socketMode = 0o750, 0o660
	}
	dir := filepath.Dir(c.Socket)
	if err := makeDir(dir, dirMode, c.Group); err != nil {
		return nil, fmt.Errorf("socket directory: %w", err)
	}
	listener, err := peercred.Listen(c.Socket)
	if err != nil || c.Group == nil {
		return listener, err
	}
	if err := errors.Join(os.Chown(c.Socket, -1, *c.Group), os.Chmod(c.Socket, socketMode)); err != nil {
		return nil, errors.Join(fmt.Errorf("socket: %w", err), listener.Close())
	}
	return listener, nil
}

// makeDir makes the directory, or holds one that is there to its mode: whoever can
// write to it can put another socket in place.
func makeDir(dir string, mode os.FileMode, group *int) error {
	err := os.Mkdir(dir, mode)
	switch {
	case err == nil && group != nil:
		return errors.Join(os.Chown(dir, -1, *group), os.Chmod(dir, mode))
	case err == nil:
		return os.Chmod(dir, mode) // whatever the mask took
	case !errors.Is(err, os.ErrExist):
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || !slices.Contains([]os.FileMode{0o700, mode}, info.Mode().Perm()) {
		return fmt.Errorf("%s has mode %s; run chmod %04o %s", dir, info.Mode(), mode, dir)
	}
	return ownedByUs(dir, info)
}
