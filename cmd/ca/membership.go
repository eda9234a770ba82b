package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/rotation"
)

// membership is who this process is among those of its trust domain. It is kept in
// the data directory from the first start on: a host that gets another name, as a
// container does at each start, is the same replica.
type membership struct {
	Zone    rotation.Zone `json:"zone"`
	Replica string        `json:"replica"`
}

const maxMembership = 4 << 10

func membershipFile(cfg config) string { return filepath.Join(cfg.DataDir, "replica.json") }

// readMembership is what was kept; false before that.
func readMembership(cfg config) (membership, bool, error) {
	var m membership
	raw, err := secretfile.Read(membershipFile(cfg), maxMembership)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		return m, false, fmt.Errorf("who this replica is: %w", err)
	}
	return m, true, m.check(cfg.Zone)
}

// check refuses a configuration that names somebody else.
func (m membership) check(z zoneConfig) error {
	if z.Name != "" && z.Name != string(m.Zone) || z.Replica != "" && z.Replica != m.Replica {
		return fmt.Errorf("the data directory is that of replica %s of zone %s, and the configuration names replica %q of zone %q: correct it, or give the other replica a directory of its own",
			m.Replica, m.Zone, z.Replica, z.Name)
	}
	return nil
}

// keep stores m; the same again changes nothing.
func (m membership) keep(cfg config) error {
	if kept, isKept, err := readMembership(cfg); err != nil || isKept {
		if err == nil && kept != m {
			err = fmt.Errorf("the data directory is that of replica %s of zone %s already", kept.Replica, kept.Zone)
		}
		return err
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("who this replica is: %w", err)
	}
	return secretfile.Create(membershipFile(cfg), append(raw, '\n'))
}

// ownMembership is that of a process of the primary, which names itself.
func ownMembership(cfg config) (membership, error) {
	m, isKept, err := readMembership(cfg)
	if err != nil || isKept {
		return m, err
	}
	m = membership{rotation.Zone(cfg.Zone.Name), cfg.Zone.Replica}
	if m.Zone == "" {
		m.Zone = primaryZone
	}
	if m.Replica == "" {
		m.Replica = hostReplica()
	}
	return m, m.keep(cfg)
}
