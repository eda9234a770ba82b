package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/sqlite"
)

// checkBundle holds the anchor that a root in Vault signs under to the bundle that the
// data directory has: a renewal under any other is refused, days later. Where there
// is no data directory, as on the machine of whoever looks after Vault, it finds
// nothing.
func (b *vaultBackends) checkBundle(ctx context.Context) []ca.Finding {
	var root ca.Root
	switch {
	case b.pki != nil:
		root = b.pki
	case b.transit != nil:
		root = b.transit
	default:
		return nil
	}
	anchor, err := root.Anchor(ctx)
	if err != nil {
		return nil // root-issuer says it
	}
	bundle, err := storedBundle(ctx, b.config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []ca.Finding{{
			ID: "root-bundle", Level: ca.LevelWarn, Subject: b.config.DataDir, Detail: "the bundle could not be read: " + err.Error(), Next: "run this as the user of the server",
		}}
	}
	return []ca.Finding{judgeAnchor(anchor, bundle)}
}

// judgeAnchor tells whether an intermediate under anchor could be put in force.
func judgeAnchor(anchor *x509.Certificate, bundle *ca.Bundle) ca.Finding {
	active, id := bundle.Active(), ca.AnchorIDOf(anchor)
	f := ca.Finding{ID: "root-bundle", Level: ca.LevelOK, Detail: fmt.Sprintf("anchor %.8s is the active one of bundle %d", id, bundle.Sequence())}
	if anchor.Equal(active) {
		return f
	}
	place := "is not in it"
	for _, a := range bundle.Anchors() {
		if anchor.Equal(a.Certificate) {
			place = "is in it as " + string(a.Slot)
		}
	}
	f.Level, f.Next = ca.LevelFail, "put the issuer or key of the active anchor into the section root; to replace an anchor, rotate it"
	f.Detail = fmt.Sprintf("signs under anchor %.8s; the active one of bundle %d is %.8s (%s), and %.8s %s: no renewal can work", id, bundle.Sequence(), ca.AnchorIDOf(active), active.Subject.CommonName, id, place)
	return f
}

// storedBundle reads the bundle of a data directory, beside a server that may be
// running. It is fs.ErrNotExist where there is none yet.
func storedBundle(ctx context.Context, cfg config) (*ca.Bundle, error) {
	dir := filepath.Join(cfg.DataDir, "db")
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	store, err := sqlite.Open(sqlite.Config{Dir: dir, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	state, _, err := store.Load(ctx)
	if err := errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	if len(state.Anchors) == 0 {
		return nil, fs.ErrNotExist
	}
	return state.Bundle()
}
