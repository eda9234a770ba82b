package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/zones"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation/primary"
	"github.com/kedge-ca/kedge/rotation/replica"
)

// following is how a process hears of the primary: one of member and leading is set.
type following struct {
	member  *member
	leading *leading
	contact *contact

	mu       sync.Mutex // guards follower
	follower *replica.Follower
}

// openFollowing makes the side that cfg describes. roots are empty in a zone.
func (i *instance) openFollowing(a *app, log *slog.Logger, keys ca.KeyStore, roots []ca.Root) error {
	f := &following{}
	i.following = f
	if i.config.isZone() {
		f.member = &member{config: i.config, policy: i.module.Policy(), keys: ownKeys(i.config, keys), now: a.now, getenv: a.getenv, log: log}
		f.contact = &contact{Source: f.member, now: a.now, log: log}
		return nil
	}
	own, err := ownMembership(i.config)
	if err != nil {
		return err
	}
	domain, err := i.config.domain()
	if err != nil {
		return err
	}
	settings, err := i.config.rotationSettings()
	if err != nil {
		return err
	}
	f.leading = &leading{log: log, roots: ca.OneOf(roots...), config: primary.Config{
		TrustDomain: domain, Documents: i.store, Roots: ca.OneOf(roots...), Keys: ownKeys(i.config, keys), Events: i.store,
		Policy: i.module.Policy(), Zone: own.Zone, Replica: own.Replica, Version: version, Now: a.now,
		Rotation: settings,
	}}
	f.contact = &contact{Source: f.leading, now: a.now, log: log}
	return nil
}

// rootFor implements ca.RootFor.
func (f *following) rootFor(ctx context.Context, anchor ca.AnchorID) (ca.Root, error) {
	if f.member != nil {
		return f.member.rootFor(ctx, anchor)
	}
	return f.leading.rootFor(ctx, anchor)
}

// use gives both sides the custodian, which is made of their rootFor.
func (f *following) use(c *ca.Custodian) {
	if f.member != nil {
		f.member.custodian = c
		return
	}
	f.leading.config.Custodian = c
}

func (f *following) close() error {
	if f == nil || f.member == nil {
		return nil
	}
	return f.member.close()
}

// ownKeys is keys for those that are no intermediate's. The policy of a transit engine
// covers names that begin so, and no others.
func ownKeys(cfg config, keys ca.KeyStore) ca.KeyStore {
	if cfg.Keys.Store == keysVaultTransit {
		return prefixed{keys}
	}
	return keys
}

type prefixed struct{ ca.KeyStore }

// Create implements ca.KeyStore.
func (p prefixed) Create(ctx context.Context, name string) (ca.Key, error) {
	return p.KeyStore.Create(ctx, "intermediate-"+name)
}

// Open implements ca.KeyStore.
func (p prefixed) Open(ctx context.Context, name string) (ca.Key, error) {
	return p.KeyStore.Open(ctx, "intermediate-"+name)
}

// Destroy implements ca.KeyStore.
func (p prefixed) Destroy(ctx context.Context, name string) error {
	return p.KeyStore.Destroy(ctx, "intermediate-"+name)
}

// makeZoneDir makes the data directory of a zone, which needs no ca init.
func makeZoneDir(cfg config) error {
	if err := secretfile.MakeDir(cfg.DataDir); err != nil {
		return fmt.Errorf("%w; the directory above it has to be there", err)
	}
	return secretfile.MakeDir(filepath.Join(cfg.DataDir, "db"))
}

// settle brings a process into its trust domain before it supplies itself: a halt of
// before is in force again, a zone joins, the primary opens. What has to wait is tried
// again in the background; only a join that was refused for good ends the start.
func (s *server) settle(ctx context.Context) error {
	patient, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if s.following.member == nil {
		if err := s.following.leading.open(patient); err != nil && ctx.Err() == nil {
			s.log.Error("no zones and no rotation yet; issuing goes on", "error", err, "reason", ca.ReasonOf(err))
		}
	} else if err := s.following.member.join(patient); err != nil {
		if isFinal(err) && patient.Err() == nil {
			return fmt.Errorf("joining the zone: %w", err)
		}
		s.log.Error("this replica has not joined yet", "error", err, "reason", ca.ReasonOf(err))
	}
	held, err := s.custodian.Held(ctx)
	if err == nil {
		s.authority.Halt(held.Halted)
	}
	return nil
}

// rejoinPause spaces attempts of a first join.
const rejoinPause = 2 * time.Second

// follow follows the primary until ctx ends. A replica that has not joined does that
// first, for as long as it takes.
func (s *server) follow(ctx context.Context) {
	if m := s.following.member; m != nil && !s.joinAtLast(ctx, m) {
		return
	}
	f, err := s.openFollower()
	if err != nil {
		s.log.Error("not following", "error", err)
		return
	}
	f.Run(ctx)
}

// openFollower makes the follower of a process that knows who it is, once.
func (s *server) openFollower() (*replica.Follower, error) {
	f := s.following
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.follower != nil {
		return f.follower, nil
	}
	who, err := s.membership()
	if err != nil {
		return nil, err
	}
	f.follower, err = replica.New(replica.Config{
		Zone: who.Zone, Replica: who.Replica, Version: version, Source: f.contact, Custodian: s.custodian, Authority: s.authority,
		Upkeep: func(ctx context.Context) error { return s.upkeep.tick(ctx, false) }, Now: s.app.now, Failed: f.contact.failure,
	})
	return f.follower, err
}

// joinAtLast joins, and supplies the authority once it has.
func (s *server) joinAtLast(ctx context.Context, m *member) bool {
	ticker := time.NewTicker(rejoinPause)
	defer ticker.Stop()
	for ctx.Err() == nil {
		err := m.join(ctx)
		if err == nil {
			return true
		}
		s.following.contact.note(ctx, err)
		s.following.contact.failure(err)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return false
}

// membership is who this process is.
func (s *server) membership() (membership, error) {
	kept, isKept, err := readMembership(s.config)
	if err == nil && !isKept {
		err = errors.New("this replica does not know its zone: the data directory has no replica.json")
	}
	return kept, err
}

// makeZones makes the server of the port for zones.
func (s *server) makeZones(metrics *api.Metrics) error {
	if s.config.Zones.Listen == "" {
		return nil
	}
	config, err := s.tlsConfig([]string{"h2"}, fips.RequireKey, s.serving.Certificate)
	if err != nil {
		return err
	}
	limits := s.config.Limits
	s.zones, err = api.NewServer(api.ServerConfig{
		TLS: config, Metrics: metrics, Log: s.log, Now: s.app.now, Handshakes: limits.Handshakes,
		RequestTimeout: time.Duration(limits.RequestTimeout),
		ConnectionAge:  time.Duration(limits.ConnectionAge), ConnectionIdle: time.Duration(limits.ConnectionIdle),
	})
	if err != nil {
		return err
	}
	return zones.Register(s.zones.Registrar(), zones.Config{Primary: s.following.leading})
}
