package primary

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
)

// openKey opens the bundle key of this process, and makes it where there is none. The
// name is stored before the key is made, so that a crash leaves none unnamed.
func (p *Primary) openKey(ctx context.Context) error {
	stored, err := p.keys.Key(ctx, p.holder())
	if err != nil {
		return err
	}
	if len(stored.Public) > 0 {
		key, err := p.c.Keys.Open(ctx, stored.Name)
		if err == nil && isKey(key, stored.Public) {
			p.key = key
			return nil
		}
		if err != nil && ca.ReasonOf(err) != ca.ReasonNotFound {
			return fmt.Errorf("opening bundle key %s: %w", stored.Name, err)
		}
		// It is lost: a process that had another data directory had it. The others
		// add the new one to the next bundle.
	} else if stored.Name != "" {
		if err := p.c.Keys.Destroy(ctx, stored.Name); err != nil {
			return fmt.Errorf("removing half-made bundle key %s: %w", stored.Name, err)
		}
	}
	return p.makeKey(ctx)
}

func (p *Primary) makeKey(ctx context.Context) error {
	var b [8]byte
	if err := fips.Random(b[:]); err != nil {
		return err
	}
	stored := journal.BundleKey{Holder: p.holder(), Name: "bundle-" + hex.EncodeToString(b[:])}
	if err := p.keys.Put(ctx, stored); err != nil {
		return err
	}
	key, err := p.c.Keys.Create(ctx, stored.Name)
	if err != nil {
		return fmt.Errorf("making bundle key %s: %w", stored.Name, err)
	}
	if stored.Public, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return fmt.Errorf("encoding bundle key: %w", err)
	}
	if err := p.keys.Put(ctx, stored); err != nil {
		return err
	}
	p.key = key
	return nil
}

func isKey(key ca.Key, spki []byte) bool {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return err == nil && bytes.Equal(der, spki)
}

// names tells whether k names the key with this SubjectPublicKeyInfo.
func names(k bundle.Keys, spki []byte) bool {
	for _, pub := range k.Public {
		if der, err := x509.MarshalPKIXPublicKey(pub); err == nil && bytes.Equal(der, spki) {
			return true
		}
	}
	return false
}

// canSign tells whether this process can sign the bundle that follows head.
func (p *Primary) canSign(head *bundle.Accepted) bool {
	der, err := x509.MarshalPKIXPublicKey(p.key.Public())
	return err == nil && names(head.Keys(), der)
}

// enrolKeys publishes the bundle keys of other processes of the primary that no
// bundle names yet, so that each of them can lead.
func (p *Primary) enrolKeys(ctx context.Context) error {
	head, err := p.refresh(ctx)
	if err != nil || !p.canSign(head) {
		return err
	}
	if same, err := p.currentKeys(ctx, head); err != nil || !same.changes {
		return err
	}
	return p.publish(ctx, editing{actor: system, why: "a process of the primary has another bundle key", edit: p.currentKeys})
}

// currentKeys is head with the keys that the processes of the primary have now: those
// that were lost, or whose process was removed, sign no more.
func (p *Primary) currentKeys(ctx context.Context, head *bundle.Accepted) (edition, error) {
	all, err := p.keys.All(ctx)
	if err != nil {
		return edition{}, err
	}
	have := head.Keys()
	e := edition{anchors: head.Bundle().Anchors(), keys: bundle.Keys{Threshold: have.Threshold}}
	for _, k := range all {
		if len(k.Public) == 0 {
			continue
		}
		pub, err := x509.ParsePKIXPublicKey(k.Public)
		if err != nil {
			return edition{}, fmt.Errorf("reading the bundle key of %s: %w", k.Holder, err)
		}
		e.keys.Public = append(e.keys.Public, pub)
		e.changes = e.changes || !names(have, k.Public)
	}
	e.changes = e.changes || len(e.keys.Public) != len(have.Public)
	return e, nil
}
