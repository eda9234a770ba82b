package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/kedge-ca/kedge/agent"
	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/api/peercred"
	"github.com/kedge-ca/kedge/api/workload"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// serve runs the agent until ctx ends.
func (a *app) serve(ctx context.Context, cfg config) error {
	log := slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: levels[cfg.Log.Level]}))
	if err := harden(); err != nil {
		return err
	}
	policy, err := fips.PolicyByName(cfg.FIPS.Profile)
	if err != nil {
		return err
	}
	module, err := fips.Start(fips.StartOptions{Policy: policy, Sunset: fips.SunsetMode(cfg.FIPS.Sunset), Now: a.now(), Getenv: a.getenv})
	if err != nil {
		return err
	}
	for _, w := range module.Warnings(a.now()) {
		log.Warn("cryptographic module", "code", w.Code, "detail", w.Detail)
	}
	held, err := a.newAgent(cfg, log)
	if err != nil {
		return err
	}
	listener, err := peercred.Listen(cfg.Socket)
	if err != nil {
		return err
	}
	mode, err := cfg.mode()
	if err == nil {
		err = os.Chmod(cfg.Socket, mode)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("opening the socket to workloads: %w", err), listener.Close())
	}
	server := grpc.NewServer(grpc.Creds(workload.Credentials()), grpc.MaxRecvMsgSize(maxRequest), grpc.ConnectionTimeout(handshakeTimeout))
	if err := workload.Register(server, held); err != nil {
		return errors.Join(err, listener.Close())
	}
	log.Info("serving", "socket", cfg.Socket, "trust_domain", cfg.TrustDomain, "workloads", len(cfg.Workloads), "backend", string(module.Backend()))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(listener)
		cancel()
	}()
	err = held.Run(ctx)
	server.Stop()
	return errors.Join(err, <-served)
}

// What one process may send before it is known who it is.
const (
	maxRequest       = 64 << 10
	handshakeTimeout = 10 * time.Second
)

func (a *app) newAgent(cfg config, log *slog.Logger) (*agent.Agent, error) {
	domain, err := ca.ParseTrustDomain(cfg.TrustDomain)
	if err != nil {
		return nil, err
	}
	bundle, err := os.ReadFile(cfg.Bundle)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	c := agent.Config{TrustDomain: domain, Digest: agent.DigestOf, Now: a.now, Events: events{log}}
	for i := range cfg.Workloads {
		w := &cfg.Workloads[i]
		made, err := a.workload(&cfg, w, bundle)
		if err != nil {
			return nil, fmt.Errorf("workload %s: %w", w.Identity, err)
		}
		c.Workloads = append(c.Workloads, made)
	}
	return agent.New(c)
}

func (a *app) workload(cfg *config, w *workloadConfig, bundle []byte) (agent.Workload, error) {
	identity, err := ca.ParseIdentity(w.Identity)
	if err != nil {
		return agent.Workload{}, err
	}
	selector, err := w.selector()
	if err != nil {
		return agent.Workload{}, err
	}
	c, err := client.New(client.Config{
		Server: cfg.Server, ServerName: cfg.ServerName, Bundle: bundle, TokenFile: w.TokenFile,
		KeyType: fips.KeyType(w.KeyType), Profile: w.Profile, TTL: time.Duration(w.TTL),
	})
	if err != nil {
		return agent.Workload{}, err
	}
	made := agent.Workload{Identity: identity, Selector: selector, Source: c}
	if w.Certificate != nil {
		made.Source = byCertificate{Client: c, files: *w.Certificate, now: a.now}
	}
	return made, nil
}

// events logs what the agent tells.
type events struct{ log *slog.Logger }

// Renewed implements agent.Events.
func (e events) Renewed(c *client.Certificate) {
	e.log.Info("certificate", "identity", c.Identity, "serial", c.Serial, "ends", c.Chain[0].NotAfter.UTC(), "renew_at", c.RenewAt.UTC(), "bundle", c.Sequence)
}

// Failed implements agent.Events.
func (e events) Failed(identity ca.Identity, err error, next time.Time) {
	e.log.Warn("no new certificate; one that is held stays in use", "identity", identity.String(), "error", err, "next_try", next.UTC())
}

// harden keeps keys out of core dumps and away from other processes of the same user.
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
