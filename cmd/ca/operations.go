package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/admin"
	"github.com/kedge-ca/kedge/api/authn"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/kedgeapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

var _ admin.Operations = (*server)(nil)

// Status implements admin.Operations.
func (s *server) Status(ctx context.Context) (*kedgev1.StatusResponse, error) {
	now := s.app.now()
	supply := s.upkeep.status()
	report := s.report(now, nil)
	out := &kedgev1.StatusResponse{
		Version: version, TrustDomain: s.config.TrustDomain, StartedAt: timestamppb.New(s.started), Now: timestamppb.New(now),
		Ready: true, Retired: uint32(supply.Retired), LiveKeys: uint64(s.authority.LiveKeys()),
		FipsVerdict: report.Verdict, FipsModule: moduleName(report),
		Listeners: []*kedgev1.Listener{
			{Name: "tls", Address: s.tls.Addr().String()}, {Name: "admin", Address: s.config.AdminSocket}, {Name: "ops", Address: s.opsListener.Addr().String()},
		},
	}
	if l := s.linkerd.listener; l != nil {
		out.Listeners = append(out.Listeners, &kedgev1.Listener{Name: "linkerd", Address: l.Addr().String()})
	}
	if s.endpoint != nil {
		out.Listeners = append(out.Listeners, &kedgev1.Listener{Name: "bundle", Address: s.endpoint.listener.Addr().String()})
	}
	if err := s.authority.Ready(now); err != nil {
		out.Ready, out.NotReadyReason, out.NotReadyDetail = false, string(ca.ReasonOf(err)), err.Error()
	}
	if bundle := s.authority.Bundle(); bundle != nil {
		out.Bundle = kedgeapi.EncodeBundle(bundle)
	}
	if i := s.authority.Intermediate(); i != nil {
		out.Intermediate = admin.EncodeIntermediate(i)
		out.RenewAfter = timestamppb.New(supply.RenewAfter)
	}
	if err := s.upkeep.lastError(); err != nil {
		out.UpkeepError = err.Error()
	}
	if current := s.serving.current.Load(); current != nil {
		out.ServerCertificateNotAfter = timestamppb.New(current.leaf.NotAfter)
	}
	if s.zonesListener != nil {
		out.Listeners = append(out.Listeners, &kedgev1.Listener{Name: "zones", Address: s.zonesListener.Addr().String()})
	}
	out.Membership = s.encodeMembership(ctx)
	for _, k := range s.current.Load().KeyStats() {
		out.KeySources = append(out.KeySources, encodeKeySource(k))
	}
	return out, nil
}

func encodeKeySource(k authn.KeyStats) *kedgev1.KeySource {
	wire := &kedgev1.KeySource{Name: k.Name, Keys: uint32(k.Keys), LastError: k.LastError}
	if !k.LastSuccess.IsZero() {
		wire.LastSuccess = timestamppb.New(k.LastSuccess)
	}
	return wire
}

// metricState is what a scrape reads.
func (s *server) metricState() api.AuthorityState {
	now := s.app.now()
	state := api.AuthorityState{
		Bundle: s.authority.Bundle(), Intermediate: s.authority.Intermediate(), Ready: s.authority.Ready(now) == nil,
		FIPSOK: s.module.Err() == nil, FIPSModule: string(s.module.Backend()), LiveKeys: s.authority.LiveKeys(),
		RenewalFails: s.upkeep.lastError() != nil, InGate: s.gate.Inside(), KeyRefresh: make(map[string]time.Time),
		Outstanding: s.authority.Outstanding(now),
	}
	if current := s.serving.current.Load(); current != nil {
		state.ServerEnd = current.leaf.NotAfter
	}
	for _, k := range s.current.Load().KeyStats() {
		state.KeyRefresh[k.Name] = k.LastSuccess
	}
	return state
}

func (s *server) report(now time.Time, external []fips.ExternalModule) fips.Report {
	return s.module.Report(fips.ReportInput{Now: now, TLSMinVersion: minTLSVersion(s.config), ExternalModules: external})
}

// minTLSVersion is the oldest protocol version that the listeners speak.
func minTLSVersion(c config) uint16 {
	if c.MinTLS == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// moduleName is the module of a report as people name it.
func moduleName(r fips.Report) string {
	if r.Module == nil {
		return "none"
	}
	return r.Module.Name + " " + r.Module.Version
}

// FIPSReport implements admin.Operations.
func (s *server) FIPSReport(ctx context.Context, sign bool) ([]byte, error) {
	raw, err := json.Marshal(s.report(s.app.now(), s.externalModules(ctx)))
	if err != nil {
		return nil, fmt.Errorf("encoding the report: %w", err)
	}
	if !sign {
		return raw, nil
	}
	signer, chain, err := s.serving.Signer()
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonNotReady, Err: err}
	}
	return fips.SignReport(raw, signer, chain)
}

// SelfTest implements admin.Operations. A failure latches the module, and with it
// the gate of the authority.
func (s *server) SelfTest(context.Context) []fips.TestResult {
	var signers []fips.NamedSigner
	if i := s.authority.Intermediate(); i != nil {
		signers = append(signers, fips.NamedSigner{Name: "intermediate " + i.KeyID(), Signer: i.Signer()})
	}
	results := s.module.SelfTest(s.app.now(), signers...)
	for _, r := range results {
		switch {
		case r.OK:
		case s.module.Err() != nil:
			s.log.Error("self-test failed; issuance has stopped", "test", r.Name, "detail", r.Detail)
		default: // a key elsewhere that cannot be reached is no fault of the module
			s.log.Warn("self-test could not be made; issuance goes on", "test", r.Name, "detail", r.Detail)
		}
	}
	return results
}

// RenewIntermediate implements admin.Operations.
func (s *server) RenewIntermediate(ctx context.Context) (*ca.Intermediate, error) {
	if err := s.upkeep.tick(ctx, true); err != nil {
		return nil, err
	}
	return s.authority.Intermediate(), s.serving.renew(ctx)
}

// Reload implements admin.Operations: it puts policy, profiles, authentication,
// server names and log level of the file in force, all of them or none. What needs
// a restart must not have changed.
func (s *server) Reload(ctx context.Context) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.options.configPath == "" {
		return ca.Refuse(ca.ReasonRequest, "this server has no configuration file")
	}
	next, err := loadConfig(s.options.configPath)
	if err != nil {
		return err
	}
	if err := s.config.checkReload(next); err != nil {
		return err
	}
	policy, err := next.buildPolicy()
	if err != nil {
		return err
	}
	authnConfig, err := next.buildAuthn(s.store, s.app.now)
	if err != nil {
		return err
	}
	old := s.current.Load()
	authnConfig.Previous = old
	fresh, err := authn.New(authnConfig)
	if err != nil {
		return fmt.Errorf("authentication: %w", err)
	}
	if err := s.store.Append(ctx, ca.Event{At: s.app.now().UTC(), Actor: "system", Action: "config.reload"}); err != nil {
		fresh.Close()
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: err}
	}
	s.authority.SetPolicy(policy)
	s.current.Store(fresh)
	old.Close()
	s.app.level.Set(levels[next.Log.Level])
	s.serving.outdate() // server names are part of its profile; upkeep renews it
	s.log.Info("configuration reloaded", "file", s.options.configPath)
	return nil
}

// checkReload names what a reload cannot change.
func (c config) checkReload(next config) error {
	var changed []error
	for name, same := range map[string]bool{
		"trustDomain": c.TrustDomain == next.TrustDomain, "dataDir": c.DataDir == next.DataDir, "listen": c.Listen == next.Listen,
		"minTLS": c.MinTLS == next.MinTLS, "adminSocket": c.AdminSocket == next.AdminSocket, "ops": c.Ops == next.Ops,
		"bundleEndpoint": c.BundleEndpoint == next.BundleEndpoint, "linkerd": c.Linkerd == next.Linkerd,
		"fips": c.FIPS == next.FIPS, "root": c.Root == next.Root, "nextRoot": c.NextRoot == next.NextRoot,
		"keys": c.Keys == next.Keys, "store": c.Store == next.Store, "vault": c.Vault == next.Vault, "upstream": c.Upstream == next.Upstream,
		"zone": c.Zone == next.Zone, "zones": c.Zones == next.Zones, "primary": c.Primary == next.Primary,
		"rotation": c.Rotation.equal(next.Rotation), "intermediate": c.Intermediate == next.Intermediate,
		"limits": c.Limits == next.Limits,
	} {
		if !same {
			changed = append(changed, fmt.Errorf("%s cannot change without a restart", name))
		}
	}
	return errors.Join(changed...)
}
