package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

func newServeCommand(a *app) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Runs the certificate authority that ca init made, or, with the section primary, a
replica of a zone, which joins its primary at the first start. SIGHUP reads the configuration
again, SIGTERM drains: no request in flight fails. The log is JSON on standard
error. The server starts, and lets an operator in by its local socket, even when
every certificate has expired; it then issues nothing until ca repair.`,
		Example: `  ca serve --config /etc/kedge/ca.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := filepath.Abs(path)
			if err != nil {
				return err
			}
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), cfg, serveOptions{configPath: path})
		},
	}
	cmd.Flags().StringVar(&path, "config", "/etc/kedge/ca.yaml", "configuration file")
	return cmd
}

// serveOptions are what differs between ca serve and ca dev.
type serveOptions struct {
	configPath string                                     // read again at a reload; "" has nothing to reload
	ready      func(ctx context.Context, s *server) error // called when it serves
}

// serve runs a server until ctx ends.
func (a *app) serve(ctx context.Context, cfg config, o serveOptions) error {
	log := a.logger(cfg)
	// Caught from the first moment to the last: by default it ends the process, at a
	// start and in the middle of a drain too. ca dev has nothing to read again, and
	// shall end with its terminal.
	hangups := make(chan os.Signal, 1)
	if o.configPath != "" {
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}
	if err := harden(); err != nil {
		return err
	}
	module, err := a.startModule(cfg)
	if err != nil {
		return err
	}
	for _, w := range module.Warnings(a.now()) {
		log.Warn("cryptographic module", "code", w.Code, "detail", w.Detail)
	}
	i, err := a.openInstance(cfg, module, log)
	if err != nil {
		return err
	}
	s := &server{instance: i, app: a, log: log, options: o, started: a.now(), hangups: hangups}
	return errors.Join(s.run(ctx), i.close())
}

// startModule proves the cryptographic module. Nothing that holds a key or opens
// a socket runs before it.
func (a *app) startModule(cfg config) (*fips.Module, error) {
	policy, err := fips.PolicyByName(cfg.FIPS.Profile)
	if err != nil {
		return nil, err
	}
	return fips.Start(fips.StartOptions{Policy: policy, Sunset: fips.SunsetMode(cfg.FIPS.Sunset), Now: a.now(), Getenv: a.getenv})
}

// logger writes JSON to standard error at the configured level.
func (a *app) logger(cfg config) *slog.Logger {
	a.level.Set(levels[cfg.Log.Level])
	return slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: &a.level}))
}

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// harden keeps key material out of core dumps and away from other processes of
// the same user.
func harden() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	const prSetDumpable = 4 // prctl(2)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0); errno != 0 {
		return fmt.Errorf("making the process undumpable: %w", errno)
	}
	return nil
}

// run supplies the authority, opens the listeners and works until ctx ends.
func (s *server) run(ctx context.Context) error {
	if err := s.remember(ctx, s.app.now()); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	if err := s.firstTick(ctx); err != nil {
		if errors.Is(err, ca.ErrForeignState) {
			return fmt.Errorf("%w; correct trustDomain, or give this trust domain a dataDir of its own with ca init", err)
		}
		// An authority that exists serves its operator whatever has expired.
		if ca.ReasonOf(err) == ca.ReasonNotFound && s.authority.Bundle() == nil && !s.config.isZone() {
			return err
		}
		s.log.Error("no new intermediate", "error", err)
	}
	if s.serving.due() {
		if err := s.serving.renew(ctx); err != nil {
			s.log.Error("no server certificate yet", "error", err)
		}
	}
	if err := s.listen(); err != nil {
		return errors.Join(err, s.closeListeners())
	}
	s.head = &headKeeper{dataDir: s.config.DataDir, store: s.store, now: s.app.now, log: s.log}
	err := errors.Join(s.head.begin(ctx), s.store.Append(ctx, ca.Event{At: s.app.now().UTC(), Actor: "system", Action: "server.start", Detail: map[string]string{"version": version}}))
	if ctx.Err() != nil { // stopped while it started: nothing has failed
		return s.closeListeners()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("recording the start: %w", err), s.closeListeners())
	}
	work, stop := context.WithCancel(ctx)
	defer s.background.Wait() // before the store closes
	defer stop()
	failed := s.start(work)
	if s.options.ready != nil {
		if err := s.options.ready(work, s); err != nil {
			return errors.Join(err, s.closeListeners())
		}
	}
	s.log.Info("serving", "address", s.tls.Addr().String(), "trust_domain", s.config.TrustDomain, "admin_socket", s.config.AdminSocket)
	select {
	case <-ctx.Done():
	case err = <-failed:
		s.log.Error("a listener failed", "error", err)
	}
	stop()
	return errors.Join(err, s.stop())
}

// startPatience is how long a start waits for what holds the root or the keys. The
// listeners, with health and the operator's socket, do not wait for an outage; upkeep
// asks again seconds later.
const startPatience = 8 * time.Second

func (s *server) firstTick(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return s.upkeep.tick(ctx, false)
}

// reloadOnHangup reloads at each SIGHUP until ctx ends.
func (s *server) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hangups:
			if err := s.Reload(ctx); err != nil {
				s.log.Error("configuration was not reloaded; the old one stays in force", "error", err)
			}
		}
	}
}

// selfTestEvery is how often the self-tests run again while the server works.
const selfTestEvery = 24 * time.Hour

// selfTestDaily tests the module and the keys in use until ctx ends.
func (s *server) selfTestDaily(ctx context.Context) {
	ticker := time.NewTicker(selfTestEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.SelfTest(ctx)
			for _, w := range s.module.Warnings(s.app.now()) {
				s.log.Warn("cryptographic module", "code", w.Code, "detail", w.Detail)
			}
		}
	}
}
