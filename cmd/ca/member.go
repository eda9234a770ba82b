package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/api/zones"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// member is the side of a zone's replica that talks to the primary. It opens its key
// at the first call, which may be in Vault: no start waits for that.
type member struct {
	config    config
	policy    fips.Policy
	keys      ca.KeyStore
	custodian *ca.Custodian // set once, before the first call
	now       func() time.Time
	getenv    func(string) string
	log       *slog.Logger

	mu       sync.Mutex // held while the key is opened
	client   *zones.Client
	rejoined time.Time // when a rejoin was tried last
}

var _ primary.Source = (*member)(nil)

// connect is the client, made at the first call that can.
func (m *member) connect(ctx context.Context) (*zones.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil {
		return m.client, nil
	}
	c, err := m.clientConfig(ctx)
	if err != nil {
		return nil, err
	}
	m.client, err = zones.NewClient(c)
	return m.client, err
}

func (m *member) clientConfig(ctx context.Context) (zones.ClientConfig, error) {
	key, err := zones.OpenKey(ctx, m.keys)
	if err != nil {
		return zones.ClientConfig{}, err
	}
	identity, err := m.config.serverIdentity()
	if err != nil {
		return zones.ClientConfig{}, err
	}
	return zones.ClientConfig{
		Address: m.config.Primary.Address, ServerName: m.config.Primary.ServerName, Primary: identity,
		Key: key, Policy: m.policy, Now: m.now,
		Held: func(ctx context.Context) (*ca.Bundle, error) {
			held, err := m.custodian.Held(ctx)
			return held.Bundle, err
		},
	}, nil
}

// rootFor implements ca.RootFor.
func (m *member) rootFor(ctx context.Context, anchor ca.AnchorID) (ca.Root, error) {
	client, err := m.connect(ctx)
	if err != nil {
		return nil, err
	}
	return client.RootFor(ctx, anchor)
}

// Follow implements primary.Source. A primary that does not know the replica any more
// was restored from a backup: with a new token the same replica joins again.
func (m *member) Follow(ctx context.Context, have primary.Have) (primary.Directive, error) {
	client, err := m.connect(ctx)
	if err != nil {
		return primary.Directive{}, err
	}
	d, err := client.Follow(ctx, have)
	if ca.ReasonOf(err) != ca.ReasonZoneUnknown {
		return d, err
	}
	if rejoinErr := m.rejoin(ctx); rejoinErr != nil {
		return d, errors.Join(err, rejoinErr)
	}
	return client.Follow(ctx, have)
}

// Report implements primary.Source.
func (m *member) Report(ctx context.Context, r rotation.Report) error {
	client, err := m.connect(ctx)
	if err != nil {
		return err
	}
	return client.Report(ctx, r)
}

func (m *member) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client == nil {
		return nil
	}
	return m.client.Close()
}

// hasJoined tells whether the data directory is that of a replica that has joined.
func (m *member) hasJoined(ctx context.Context) (bool, error) {
	held, err := m.custodian.Held(ctx)
	switch {
	case ca.ReasonOf(err) == ca.ReasonNotFound:
		return false, nil
	case err != nil:
		return false, err
	case len(held.Signed) == 0:
		return false, fmt.Errorf("%s holds an authority with a root of its own, which cannot become a zone: give the zone a data directory of its own", m.config.DataDir)
	}
	return true, nil
}

// join joins, unless that was done. It may be called again after a crash at any point:
// the key is made first and stays, and the primary answers it again.
func (m *member) join(ctx context.Context) error {
	if has, err := m.hasJoined(ctx); err != nil || has {
		return err
	}
	joined, err := m.ask(ctx)
	if err != nil {
		return err
	}
	signed, err := primary.Encode(joined.Signed)
	if err != nil {
		return err
	}
	if err := (membership{joined.Zone, joined.replica}).keep(m.config); err != nil {
		return err
	}
	if err := m.custodian.Enrol(ctx, m.now(), ca.Adoption{Bundle: joined.Bundle.Bundle(), Signed: signed}); err != nil {
		return err
	}
	m.log.Info("joined", "zone", joined.Zone, "replica", joined.replica, "bundle", joined.Bundle.Bundle().Sequence())
	return nil
}

// joining is what the primary has answered.
type joining struct {
	zones.Membership
	replica string
}

// ask joins at the primary with the token.
func (m *member) ask(ctx context.Context) (joining, error) {
	token, err := m.token()
	if err != nil {
		return joining{}, err
	}
	c, err := m.clientConfig(ctx)
	if err != nil {
		return joining{}, err
	}
	j := joining{replica: m.config.Zone.Replica}
	if kept, isKept, err := readMembership(m.config); err != nil {
		return j, err
	} else if isKept {
		j.replica = kept.Replica
	}
	if j.replica == "" {
		j.replica = hostReplica()
	}
	if j.Membership, err = zones.Join(ctx, c, zones.Joining{Token: token, Replica: j.replica, Version: version}); err != nil {
		return j, err
	}
	if named := m.config.Zone.Name; named != "" && named != string(j.Zone) {
		return j, ca.Refuse(ca.ReasonZoneName, "the token is for zone %s, and zone.name says %s", j.Zone, named)
	}
	return j, nil
}

// token reads the join token.
func (m *member) token() (string, error) {
	p := m.config.Primary
	switch {
	case p.TokenFile != "":
		raw, err := secretfile.Read(p.TokenFile, 4<<10)
		if err != nil {
			return "", fmt.Errorf("primary.tokenFile: %w", err)
		}
		return strings.TrimSpace(string(raw)), nil
	case p.TokenEnv != "" && m.getenv(p.TokenEnv) != "":
		return strings.TrimSpace(m.getenv(p.TokenEnv)), nil
	case p.TokenEnv != "":
		return "", ca.Refuse(ca.ReasonZoneToken, "the environment has no %s, which primary.tokenEnv names", p.TokenEnv)
	}
	return "", ca.Refuse(ca.ReasonZoneToken, "this replica has not joined, and neither primary.tokenFile nor primary.tokenEnv names its token; ca zones token on the primary makes one")
}

// rejoinEvery spaces attempts: each shows the primary a token.
const rejoinEvery = time.Minute

// rejoin registers the same key again. What is held stays and is followed from.
func (m *member) rejoin(ctx context.Context) error {
	m.mu.Lock()
	isDue := m.now().Sub(m.rejoined) >= rejoinEvery
	if isDue {
		m.rejoined = m.now()
	}
	m.mu.Unlock()
	if !isDue {
		return errors.New("joining again was tried a moment ago")
	}
	if _, err := m.ask(ctx); err != nil {
		return fmt.Errorf("joining again: %w", err)
	}
	m.log.Info("joined again")
	return nil
}

// isFinal tells whether trying to join again is of no use.
func isFinal(err error) bool {
	class := ca.ReasonOf(err).Class()
	return class == ca.Unauthenticated || class == ca.Denied || class == ca.Malformed || ca.ReasonOf(err) == ca.ReasonInternal
}
