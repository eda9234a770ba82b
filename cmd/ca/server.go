package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/admin"
	"github.com/kedge-ca/kedge/api/istio"
	"github.com/kedge-ca/kedge/api/kedgeapi"
	"github.com/kedge-ca/kedge/fips"
)

// server is an instance with its listeners.
type server struct {
	*instance
	app     *app
	log     *slog.Logger
	options serveOptions
	started time.Time
	hangups <-chan os.Signal

	background sync.WaitGroup // what start began, but the listeners
	repairing  sync.Mutex     // one repair at a time
	reloading  sync.Mutex     // one reload at a time
	gate       *api.Gate
	front      *api.Server
	zones      *api.Server // nil where no zones are served
	admin      *grpc.Server
	ops        *http.Server
	linkerd    linkerdDoor
	endpoint   *bundleEndpoint // nil if there is none
	head       *headKeeper

	tls, adminSocket, opsListener, zonesListener net.Listener
}

// listen makes every listener, so that an address that is taken is found before
// anything is served.
func (s *server) listen() error {
	registry := prometheus.NewRegistry()
	metrics, err := s.register(registry)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if err := s.makeFront(metrics); err != nil {
		return err
	}
	if err := s.makeZones(metrics); err != nil {
		return err
	}
	if err := s.makeAdmin(); err != nil {
		return err
	}
	if err := s.makeOps(registry); err != nil {
		return err
	}
	if s.tls, err = net.Listen("tcp", s.config.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err = s.linkerd.listen(s.config.Linkerd.Listen); err != nil {
		return err
	}
	if s.adminSocket, err = admin.Listen(s.config.AdminSocket); err != nil {
		return err
	}
	if s.opsListener, err = net.Listen("tcp", s.config.Ops.Listen); err != nil {
		return fmt.Errorf("ops.listen: %w", err)
	}
	if s.zones != nil {
		if s.zonesListener, err = net.Listen("tcp", s.config.Zones.Listen); err != nil {
			return fmt.Errorf("zones.listen: %w", err)
		}
	}
	s.endpoint, err = s.openBundleEndpoint()
	return err
}

func (s *server) register(r *prometheus.Registry) (*api.Metrics, error) {
	metrics, err := api.NewMetrics(r)
	if err != nil {
		return nil, err
	}
	all := []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), api.NewAuthorityCollector(s.metricState), newZoneMetrics(s),
	}
	if s.outside.vault != nil {
		s.vaultMetrics.status = s.outside.vault.Status
		all = append(all, s.vaultMetrics)
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return metrics, nil
}

// makeFront makes the gRPC server of the TLS port with both APIs.
func (s *server) makeFront(metrics *api.Metrics) error {
	config, err := s.tlsConfig([]string{"h2"}, fips.VerifyIfGiven, s.serving.Certificate)
	if err != nil {
		return err
	}
	limits := s.config.Limits
	s.front, err = api.NewServer(api.ServerConfig{
		TLS: config, Metrics: metrics, Log: s.log, Now: s.app.now, Handshakes: limits.Handshakes,
		RequestTimeout: time.Duration(limits.RequestTimeout),
		ConnectionAge:  time.Duration(limits.ConnectionAge), ConnectionIdle: time.Duration(limits.ConnectionIdle),
	})
	if err != nil {
		return err
	}
	quota, err := api.NewQuota(limits.IdentityRate, limits.IdentityBurst)
	if err != nil {
		return err
	}
	if s.gate, err = api.NewGate(limits.Queue); err != nil {
		return err
	}
	front, err := api.NewFront(api.FrontConfig{
		Issuer: s.authority, Authenticator: func() api.Authenticator { return s.current.Load() },
		Quota: quota, Gate: s.gate, Metrics: metrics, Now: s.app.now,
	})
	if err != nil {
		return err
	}
	if err := s.makeLinkerd(front, metrics); err != nil {
		return err
	}
	if err := s.registerApprovals(s.front.Registrar(), front); err != nil {
		return err
	}
	istio.Register(s.front.Registrar(), front)
	return kedgeapi.Register(s.front.Registrar(), kedgeapi.Config{
		Front: front, Bundles: s.authority, Draining: s.front.Draining(), Watchers: limits.Watchers, WatchersPerPeer: limits.WatchersPerPeer,
	})
}

// tlsConfig is the configuration of a listener: its certificate, and the bundle in
// force as the anchors of clients.
func (s *server) tlsConfig(protocols []string, auth fips.ClientAuth, certificate func() (*tls.Certificate, error)) (*tls.Config, error) {
	c := fips.ServerTLSConfig{
		Certificate: certificate, NextProtos: protocols, ClientAuth: auth, MinVersion: minTLSVersion(s.config), Now: s.app.now,
	}
	if auth != fips.NoClientCert && auth != fips.RequireKey {
		empty := x509.NewCertPool()
		c.ClientCAs = func() *x509.CertPool {
			if bundle := s.authority.Bundle(); bundle != nil {
				return bundle.Pool()
			}
			return empty
		}
	}
	return fips.ServerTLS(c)
}

func (s *server) makeAdmin() error {
	domain, err := s.config.domain()
	if err != nil {
		return err
	}
	s.admin = grpc.NewServer(grpc.Creds(admin.Credentials()), grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(admin.UnaryInterceptor(s.log)), grpc.StreamInterceptor(admin.StreamInterceptor(s.log)))
	var zones admin.Zones // none in a zone
	if s.following.leading != nil {
		zones = s.following.leading
	}
	if err := admin.RegisterZones(s.admin, zones, s.app.now); err != nil {
		return err
	}
	if err := s.registerRotations(s.admin); err != nil {
		return err
	}
	return admin.Register(s.admin, admin.Config{
		Records: s.store, Tokens: s.store, Events: s.store, Operations: s, Domain: domain, Now: s.app.now, Poll: 500 * time.Millisecond,
	})
}

func (s *server) makeOps(registry *prometheus.Registry) error {
	s.ops = &http.Server{
		Handler:           api.NewOps(registry, func() error { return s.authority.Ready(s.app.now()) }),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // handshakes that failed, mostly
	}
	if !s.config.Ops.TLS {
		return nil
	}
	certificate, err := s.serving.orStopgap()
	if err != nil {
		return err
	}
	s.ops.TLSConfig, err = s.tlsConfig([]string{"http/1.1"}, fips.NoClientCert, certificate)
	return err
}

// start serves in the background. The channel gives the first listener's failure.
func (s *server) start(ctx context.Context) <-chan error {
	failed := make(chan error, 6)
	s.setServing()
	for server, listener := range s.fronts() {
		go func() { failed <- server.Serve(listener) }()
	}
	go func() { failed <- s.admin.Serve(s.adminSocket) }()
	go func() {
		if s.config.Ops.TLS {
			failed <- s.ops.ServeTLS(s.opsListener, "", "")
			return
		}
		failed <- s.ops.Serve(s.opsListener)
	}()
	if s.endpoint != nil {
		go func() { failed <- s.endpoint.serve() }()
	}
	if s.zones != nil {
		s.zones.SetServing(true)
		go func() { failed <- s.zones.Serve(s.zonesListener) }()
	}
	background := []func(context.Context){s.upkeep.run, s.follow, s.head.run, s.reloadOnHangup, s.selfTestDaily, s.followHealth, tuneMemory}
	if s.following.leading != nil {
		background = append(background, s.following.leading.run)
	}
	if s.outside.vault != nil {
		background = append(background, s.outside.vault.Run)
	}
	for _, work := range background {
		s.background.Go(func() { work(ctx) })
	}
	return failed
}

// fronts are the servers of the APIs, each with its listener.
func (s *server) fronts() map[*api.Server]net.Listener {
	all := map[*api.Server]net.Listener{s.front: s.tls}
	if s.linkerd.server != nil {
		all[s.linkerd.server] = s.linkerd.listener
	}
	return all
}

func (s *server) setServing() {
	ready := s.authority.Ready(s.app.now()) == nil
	for server := range s.fronts() {
		server.SetServing(ready)
	}
}

// followHealth keeps the health service equal to readiness.
func (s *server) followHealth(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.setServing()
		}
	}
}

// stop drains: calls in flight finish, then everything closes.
func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.config.Limits.DrainTimeout))
	defer cancel()
	if s.zones != nil {
		s.zones.Drain(ctx) // their streams end at once, and their calls are few
	}
	var drains sync.WaitGroup
	for server := range s.fronts() {
		drains.Go(func() {
			if !server.Drain(ctx) {
				s.log.Warn("some requests were cut off", "after", time.Duration(s.config.Limits.DrainTimeout).String())
			}
		})
	}
	drains.Wait()
	s.admin.Stop()
	// A scrape that hangs is no reason to call the stop a failure, and the drain may
	// have used all of its time.
	err := errors.Join(s.ops.Close(), s.endpoint.close())
	s.log.Info("stopped")
	return err
}

func (s *server) closeListeners() error {
	var errs []error
	for _, l := range []net.Listener{s.tls, s.adminSocket, s.opsListener, s.zonesListener, s.linkerd.listener} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	errs = append(errs, s.endpoint.close())
	return errors.Join(errs...)
}
